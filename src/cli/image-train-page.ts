/** Writes OUT/report.html when a run on images has ended. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import type { ImageTrainEvent } from "../image-train/events.ts";
import { imageTrainReport } from "../report/image-train-report.ts";

/** `events` are those of this process; the steps of earlier ones come from OUT/training.json. */
export function writeImageTrainPage(out: string, events: readonly ImageTrainEvent[], command: string): string {
  const history = readJsonObject(join(out, "training.json"))["history"] as readonly ImageTrainEvent[];
  const page = imageTrainReport({
    title: out,
    command,
    start: events.find((each) => each.event === "start")!,
    done: events.find((each) => each.event === "done")!,
    history,
    picture: (path) => readFileSync(path),
  });
  const path = join(out, "report.html");
  writeFileAtomic(path, new TextEncoder().encode(page));
  return path;
}
