/** OUT/events.jsonl: every event of a run with its time, a line each, for those who watch it from outside. */

import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { spelledNumbers } from "../files/atomic.ts";
import { ioError } from "../files/io-error.ts";
import type { TrainEvent } from "./events.ts";

export const EVENTS_FILE = "events.jsonl";

export interface EventLog {
  write(event: TrainEvent | { readonly event: "session" | "error"; readonly [name: string]: unknown }): void;
  close(): void;
}

/** A new log, or with `append` the old one gone on with; a line that a kill has cut off is ended first. */
export function openEventLog(out: string, append: boolean): EventLog {
  const path = join(out, EVENTS_FILE);
  const disk = <T>(step: () => T): T => {
    try {
      return step();
    } catch (error) {
      throw ioError("write", path, error);
    }
  };
  const file = disk(() => openSync(path, append ? "a" : "w"));
  const line = (text: string): void => {
    disk(() => writeSync(file, text));
  };
  if (append) line("\n");
  return {
    write: (event) => {
      line(`${JSON.stringify({ ...event, at: Date.now() }, spelledNumbers)}\n`);
    },
    close: () => closeSync(file),
  };
}
