/** `lowrank compare` */

import { join } from "node:path";
import type { ComparisonResult } from "../../compare/compare.ts";
import type { InferenceTimes } from "../../compare/result.ts";
import { summarise } from "../../compare/summary.ts";
import { byteSize, count, decimal, significant, spread } from "../../report/format.ts";
import { resultOfChild, trainInChild } from "../child.ts";
import { type Command, defineCommand } from "../command.ts";
import { commandLine } from "../command-line.ts";
import { readConfigFile } from "../config-file.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Compare methods on tasks over seeds: quality, parameters, memory, speed, file size",
  usage: "FILE --out DIR",
  arguments: ["COMPARISON"],
  events: true,
  flags: {
    out: { type: "string", value: "DIR", required: true, help: "Folder for the runs, compare.json and compare.html" },
  },
  notes:
    "FILE is YAML or JSON: model, tasks (name, data, evalData, test, metric), methods (name, lr to try, options of train),\n" +
    "seeds, rows (numbers of training rows), train (options of all). Finished runs are found again by the hash of their\n" +
    "settings and data, so the same command goes on where it stopped. Examples: recipes/compare-*.yaml",
  run: async ({ flags, arguments: [file], output }) => {
    const [
      { parseComparison },
      { compare },
      { RunInterrupted },
      { compareReport },
      { writeFileAtomic, writeJsonAtomic },
    ] = await Promise.all([
      import("../../compare/config.ts"),
      import("../../compare/compare.ts"),
      import("../../compare/result.ts"),
      import("../../report/compare-report.ts"),
      import("../../files/atomic.ts"),
    ]);
    const comparison = parseComparison(await readConfigFile(file!), file!);
    let label = "";
    let result: ComparisonResult;
    try {
      result = await compare({
        comparison,
        out: flags.out,
        commands: {
          train: trainInChild,
          evaluate: (options) => resultOfChild(["eval"], options),
          inference: (options) => resultOfChild(["bench", "inference"], options),
        },
        onRun: ({ key }, done, total) => {
          label = `run ${done + 1} of ${total}, ${key}`;
          output.event({ event: "run", run: key, done, total });
          output.note(label);
        },
        onEvent: (event) => {
          if (event.event === "step") output.progress(`${label}: step ${event.step}, loss ${event.loss.toFixed(4)}`);
        },
      });
    } catch (error) {
      if (!(error instanceof RunInterrupted)) throw error;
      output.note(`Interrupted. The same command goes on from here:\n  ${commandLine()}`);
      return 130;
    }
    const summary = summarise(result.results);
    writeJsonAtomic(join(flags.out, "compare.json"), { ...result, summary });
    const page = join(flags.out, "compare.html");
    writeFileAtomic(page, new TextEncoder().encode(compareReport(result, commandLine())));
    output.event({ event: "done", ...result, summary });
    for (const { method, task, seed, error } of result.failures)
      output.note(`${method} on ${task}, seed ${seed}: ${error}`);
    if (!output.json) {
      output.line(
        table([
          [
            "task",
            "method",
            "rows",
            "quality",
            "spread",
            "trainable",
            "file",
            "memory",
            "tokens/s",
            "ms a pass: base, unmerged, merged",
          ],
          ...summary.map((row) => [
            row.task,
            row.method,
            row.rows === null ? "all" : count(row.rows),
            `${row.metric} ${decimal(row.mean)}`,
            spread(row.deviation, row.seeds),
            count(row.trainableParameters),
            byteSize(row.fileBytes),
            byteSize(row.peakMemoryBytes),
            significant(row.tokensPerSecond),
            passes(row.inference),
          ]),
        ]),
      );
      output.line(`Tables: ${page}`);
    }
    return result.failures.length > 0 ? 1 : 0;
  },
});

export default command;

/** "12.1, 13.4, 12.1" */
function passes(times: InferenceTimes | null): string {
  if (!times) return "";
  return [times.base, times.unmerged, times.merged].map((each) => (each === null ? "–" : significant(each))).join(", ");
}
