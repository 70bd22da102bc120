/** Writes OUT/report.html when a run has ended. */

import { readdirSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import { trainReport } from "../report/train-report.ts";
import type { TrainEvent } from "../train/events.ts";

/** `events` are those of this process; the steps of earlier ones come from OUT/training.json. */
export function writeTrainPage(out: string, events: readonly TrainEvent[], command: string): string {
  const history = readJsonObject(join(out, "training.json"))["history"] as readonly TrainEvent[];
  const rest = events.filter(({ event }) => event !== "step" && event !== "eval");
  const start = events.find((each) => each.event === "start");
  const files = readdirSync(out).flatMap((name) => {
    const facts = statSync(join(out, name));
    return facts.isFile() ? [[name, facts.size] as const] : [];
  });
  const page = trainReport({
    title: out,
    command,
    events: [...rest.slice(0, 1), ...history, ...rest.slice(1)],
    environment: [
      ["node", process.version],
      ["cpu", cpus()[0]?.model.trim() ?? "unknown"],
      ["threads", start?.threads ?? 0],
      ["precision", start?.precision ?? "fp32"],
    ],
    dataRows: [
      ["rows", start?.rows ?? 0],
      ["target tokens", start?.targetTokens ?? 0],
      ["truncated rows", start?.truncatedRows ?? 0],
    ],
    samples: [],
    files,
  });
  const path = join(out, "report.html");
  writeFileAtomic(path, new TextEncoder().encode(page));
  return path;
}
