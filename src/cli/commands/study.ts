/** `lowrank study` */

import { join } from "node:path";
import { significant } from "../../report/format.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { type Command, defineCommand } from "../command.ts";
import { commandLine } from "../command-line.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Study the rank of adapters: spectra, subspaces in common, amplification, ranks that would do",
  usage: "--adapter [NAME=]PATH … [--model DIR] --out DIR [options]",
  flags: {
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH",
      required: true,
      help: "A LoRA folder; two or more are compared",
    },
    model: { type: "string", value: "DIR", help: "Their base, to see which of its directions they strengthen" },
    out: { type: "string", value: "DIR", required: true, help: "Folder for study.json and study.html" },
    energy: {
      type: "number",
      value: "SHARE",
      help: "Share of an update's energy that a suggested rank holds",
      shown: "0.9",
    },
    directions: { type: "integer", help: "Directions of the amplification study (each module's rank)" },
    suggest: { type: "boolean", help: "Print the suggested ranks as --rank-pattern takes them" },
  },
  notes:
    "After sections 7.2 and 7.3 of arXiv:2106.09685. Example, two seeds of one training:\n" +
    "  lowrank study --adapter a=runs/seed0 --adapter b=runs/seed1 --model SmolLM2-135M --out runs/study",
  run: async ({ flags, output }) => {
    const [
      { studyAdapters },
      { openModel },
      { locateModel },
      { studyReport },
      { writeFileAtomic, writeJsonAtomic },
      { makeFolder },
    ] = await Promise.all([
      import("../../study/study.ts"),
      import("../../models/open.ts"),
      import("../../models/locate.ts"),
      import("../../report/study-report.ts"),
      import("../../files/atomic.ts"),
      import("../../files/make-folder.ts"),
    ]);
    const { adapter, model, out, energy = 0.9, directions, suggest = false } = flags;
    const study = studyAdapters({
      adapters: adapterArguments(adapter),
      model: model === undefined ? null : openModel(locateModel(model)),
      energy,
      r: directions ?? null,
      onProgress: (done, total) => output.progress(`module ${done} of ${total}`),
    });
    makeFolder(out);
    writeJsonAtomic(join(out, "study.json"), study);
    const page = join(out, "study.html");
    writeFileAtomic(page, new TextEncoder().encode(studyReport(study, commandLine())));
    const ranks = study.adapters.map(({ name, modules }) => ({
      name,
      rankPattern: Object.fromEntries(modules.map(({ module, suggestedRank }) => [module, suggestedRank])),
    }));
    output.result(suggest ? { ...study, suggestions: ranks } : study, () =>
      [
        table([
          ["adapter", "modules", "rank", "effective rank", "stable rank", "parameters", "suggested"],
          ...study.adapters.map(({ name, modules, parameters, suggestedParameters }) => [
            name,
            modules.length,
            significant(mean(modules.map(({ rank }) => rank))),
            significant(mean(modules.map(({ effectiveRank }) => effectiveRank))),
            significant(mean(modules.map(({ stableRank }) => stableRank))),
            parameters,
            suggestedParameters,
          ]),
        ]),
        ...(suggest
          ? ranks.map(({ name, rankPattern }) => `${name}: --rank-pattern '${JSON.stringify(rankPattern)}'`)
          : []),
        `Figures and tables: ${page}`,
      ].join("\n"),
    );
  },
});

export default command;

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
