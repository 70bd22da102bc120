/** Training in a thread of its own: the library's `train()`. The caller's thread stays free for progress and signals. */

import { Worker } from "node:worker_threads";
import { LowrankError } from "../errors.ts";
import { errorFrom, type WireError } from "../wire-error.ts";
import type { TrainEvent } from "./events.ts";
import type { TrainInput } from "./options.ts";

/** A run under way: its events, once, in order. Leaving the iteration early ends the run without a checkpoint. */
export interface TrainRun extends AsyncIterable<TrainEvent> {
  /** Finishes the step, saves a checkpoint and ends with the event "interrupted"; the run may also be done before. */
  stop(): void;
}

export type FromWorker =
  | { readonly kind: "event"; readonly event: TrainEvent }
  | { readonly kind: "error"; readonly error: WireError }
  | { readonly kind: "end" };

export interface WorkerInput {
  readonly input: TrainInput;
  /** One number: not 0 asks the run to stop. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

/**
 * Starts training and gives its events as they happen. The iteration throws LowrankError, with the class and exit code
 * of its kind, for options, data or models that cannot work.
 */
export function train(input: TrainInput): TrainRun {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: { input, stop } satisfies WorkerInput,
  });
  const waiting: FromWorker[] = [];
  let wake: () => void = () => {};
  const receive = (message: FromWorker): void => {
    waiting.push(message);
    wake();
  };
  worker.on("message", receive);
  worker.on("error", (error) =>
    receive({ kind: "error", error: { name: "", message: error.message, stack: error.stack ?? "" } }),
  );
  worker.on("exit", (code) =>
    receive({ kind: "error", error: { name: "", message: `the training thread ended with code ${code}`, stack: "" } }),
  );

  async function* events(): AsyncGenerator<TrainEvent> {
    try {
      for (;;) {
        const message = waiting.shift();
        if (!message) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        } else if (message.kind === "event") yield message.event;
        else if (message.kind === "error") throw errorFrom(message.error);
        else return;
      }
    } finally {
      await worker.terminate();
    }
  }

  const stream = events();
  let taken = false;
  return {
    stop: () => {
      Atomics.store(stop, 0, 1);
    },
    [Symbol.asyncIterator]: () => {
      if (taken) throw new LowrankError("The events of a run can be read once. Collect them in an array.");
      taken = true;
      return stream;
    },
  };
}
