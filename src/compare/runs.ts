/** The runs of a comparison: settings, and a name that is their content's hash, so that finished ones are found again. */

import { createHash } from "node:crypto";
import { hashFile } from "../files/fingerprint.ts";
import type { ComparedMethod, ComparedTask, Comparison, TrainFlags } from "./config.ts";

export interface PlannedRun {
  readonly task: ComparedTask;
  readonly method: ComparedMethod;
  readonly seed: number;
  /** Training rows; null for all. */
  readonly rows: number | null;
  /** Null: the default of train. */
  readonly lr: number | null;
  /** Every option of train but data, evalData and out. */
  readonly train: TrainFlags;
  /** Folder name: the same settings, data and base give the same. */
  readonly key: string;
}

export interface RunChoice {
  readonly task: ComparedTask;
  readonly method: ComparedMethod;
  readonly seed: number;
  readonly rows: number | null;
  readonly lr: number | null;
}

/** What the base and each task's files hold, as hashes. */
export interface Contents {
  readonly base: string;
  readonly tasks: ReadonlyMap<ComparedTask, readonly (string | null)[]>;
}

/** Reads every file of the comparison once. Throws DataError for one that is not there. */
export function contentsOf({ tasks }: Comparison, base: string): Contents {
  const hashes = ({ data, evalData, test }: ComparedTask): (string | null)[] =>
    [data, evalData, test].map((file) => file && hashFile(file));
  return { base, tasks: new Map(tasks.map((task) => [task, hashes(task)])) };
}

export function planRun(comparison: Comparison, choice: RunChoice, contents: Contents): PlannedRun {
  const { task, method, seed, rows, lr } = choice;
  const train = {
    ...comparison.train,
    ...task.train,
    ...method.train,
    ...(lr === null ? {} : { lr }),
    seed,
    model: comparison.model,
  };
  const content = JSON.stringify([
    Object.entries(train).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    rows,
    contents.base,
    ...contents.tasks.get(task)!,
    task.metric,
  ]);
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 12);
  const words = [task.name, method.name, ...(rows === null ? [] : [`${rows} rows`]), `seed ${seed}`];
  return { ...choice, train, key: `${words.join(" ").replace(/[^\w]+/g, "-")}-${hash}` };
}
