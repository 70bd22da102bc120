/** Writes OUT/report.html when a run has ended. */

import { readdirSync, statSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import type { Fact } from "../report/table.ts";
import { trainReport } from "../report/train-report.ts";
import type { StartEvent, TrainEvent } from "../train/events.ts";

/** `events` are those of this process; the steps of earlier ones come from OUT/training.json. */
export function writeTrainPage(out: string, events: readonly TrainEvent[], command: string): string {
  const history = readJsonObject(join(out, "training.json"))["history"] as readonly TrainEvent[];
  const rest = events.filter(({ event }) => event !== "step" && event !== "eval" && event !== "sample");
  const start = events.find((each) => each.event === "start");
  const files = readdirSync(out).flatMap((name) => {
    const facts = statSync(join(out, name));
    return facts.isFile() ? [[name, facts.size] as const] : [];
  });
  const page = trainReport({
    title: out,
    command,
    events: [...rest.slice(0, 1), ...history, ...rest.slice(1)],
    environment: environment(out),
    dataRows: start ? dataRows(out, start) : [],
    samples: history.flatMap((event) => (event.event === "sample" ? [event] : [])),
    files,
  });
  const path = join(out, "report.html");
  writeFileAtomic(path, new TextEncoder().encode(page));
  return path;
}

interface Provenance {
  readonly base?: { readonly name?: string; readonly hash?: string };
  readonly data?: { readonly file?: string; readonly hash?: string };
  readonly evalData?: { readonly hash?: string | null } | null;
  readonly versions?: Readonly<Record<string, string>>;
}

function provenanceOf(out: string): Provenance {
  return readJsonObject(join(out, "lowrank.json")) as Provenance;
}

function environment(out: string): Fact[] {
  const { base, versions } = provenanceOf(out);
  const [cpu] = cpus();
  return [
    ["Base", base?.name ?? "unknown"],
    ["Its content's hash", short(base?.hash)],
    ["lowrank", versions?.["lowrank"] ?? "unknown"],
    ["Node", process.version],
    ["System", `${type()} ${release()}, ${process.arch}`],
    ["CPU", `${cpu?.model.trim() ?? "unknown"}, ${availableParallelism()} available`],
    ["Memory", `${(totalmem() / 2 ** 30).toFixed(1)} GiB`],
    ["Ended", new Date().toISOString().replace(/\.\d+Z$/, "Z")],
  ];
}

function dataRows(out: string, { data, evalData }: StartEvent): Fact[] {
  const { data: recorded, evalData: held } = provenanceOf(out);
  const share = data.targetShare === null ? "" : ` (${(100 * data.targetShare).toFixed(1)} % of the tokens)`;
  return [
    ["File", recorded?.file ?? "unknown"],
    ["SHA-256", short(recorded?.hash)],
    ["Format", data.format],
    ["Rows", data.rows],
    ["Tokens", data.tokens],
    ["Targets", `${data.targetTokens.toLocaleString("en-US")}${share}`],
    ["Longest row", `${data.longestRow.tokens} tokens, line ${data.longestRow.line}`],
    ["Cut rows", data.truncatedRows],
    ["Dropped rows", data.droppedRows],
    ...(evalData
      ? ([
          ["Held out", `${evalData.rows} rows${evalData.split ? " split off" : ""} of ${evalData.file}`],
          ...(held?.hash ? [["Its SHA-256", short(held.hash)] as const] : []),
        ] as const)
      : ([["Held out", "no rows"]] as const)),
  ];
}

function short(hash: string | undefined): string {
  return hash === undefined ? "unknown" : `${hash.slice(0, 16)}…`;
}
