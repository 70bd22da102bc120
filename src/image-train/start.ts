/** Training on images in a thread of its own: the library's `trainImages()`. */

import { runInWorker, type WorkerRun } from "../train/worker-run.ts";
import type { ImageTrainEvent } from "./events.ts";
import type { ImageTrainInput } from "./options.ts";

/**
 * Starts training and gives its events as they happen. The iteration throws LowrankError, with the class and exit code
 * of its kind, for options, images or models that cannot work.
 */
export function trainImages(input: ImageTrainInput): WorkerRun<ImageTrainEvent> {
  return runInWorker(new URL("./worker.js", import.meta.url), input);
}
