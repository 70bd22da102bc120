/** Training in a thread of its own: the library's `train()`. */

import type { TrainEvent } from "./events.ts";
import type { TrainInput } from "./options.ts";
import { runInWorker, type WorkerRun } from "./worker-run.ts";

/** A run under way: its events, once, in order. Leaving the iteration early ends the run without a checkpoint. */
export type TrainRun = WorkerRun<TrainEvent>;

/**
 * Starts training and gives its events as they happen. The iteration throws LowrankError, with the class and exit code
 * of its kind, for options, data or models that cannot work.
 */
export function train(input: TrainInput): TrainRun {
  return runInWorker(new URL("./worker.js", import.meta.url), input);
}
