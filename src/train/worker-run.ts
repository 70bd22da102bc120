/** Long work in a thread of its own, told as events. The caller's thread stays free for progress and signals. */

import { parentPort, Worker, workerData } from "node:worker_threads";
import { LowrankError } from "../errors.ts";
import { mailbox } from "../runtime/mailbox.ts";
import { errorFrom, toWire, type WireError } from "../wire-error.ts";

/** A run under way: its events, once, in order. Leaving the iteration early ends the run without a checkpoint. */
export interface WorkerRun<E> extends AsyncIterable<E> {
  /** Finishes the step, saves a checkpoint and ends with the event "interrupted"; the run may also be done before. */
  stop(): void;
}

type FromWorker<E> =
  | { readonly kind: "event"; readonly event: E }
  | { readonly kind: "error"; readonly error: WireError }
  | { readonly kind: "end" };

interface WorkerInput<I> {
  readonly input: I;
  /** One number: not 0 asks the run to stop. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

/**
 * Starts the worker script at `script` and gives its events as they happen. The iteration throws LowrankError, with the
 * class and exit code of its kind, for what cannot work.
 */
export function runInWorker<I, E>(script: URL, input: I): WorkerRun<E> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(script, {
    workerData: { input, stop } satisfies WorkerInput<I>,
    // Graphs are built of many small objects: with room for them a first step does not wait for the collector.
    resourceLimits: { maxYoungGenerationSizeMb: 64 },
  });
  const { put, take } = mailbox<FromWorker<E>>();
  worker.on("message", put);
  worker.on("error", (error) =>
    put({ kind: "error", error: { name: "", message: error.message, stack: error.stack ?? "" } }),
  );
  worker.on("exit", (code) =>
    put({ kind: "error", error: { name: "", message: `the training thread ended with code ${code}`, stack: "" } }),
  );

  async function* events(): AsyncGenerator<E> {
    try {
      for (;;) {
        const message = await take();
        if (message.kind === "event") yield message.event;
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

/** The other side: runs the work in a worker's thread and posts its events. */
export async function serveRun<I, E>(
  work: (input: I, environment: { stopRequested(): boolean }) => AsyncIterable<E>,
): Promise<void> {
  const { input, stop } = workerData as WorkerInput<I>;
  const post = (message: FromWorker<E>): void => parentPort!.postMessage(message);
  try {
    const stopRequested = (): boolean => Atomics.load(stop, 0) !== 0;
    for await (const event of work(input, { stopRequested })) post({ kind: "event", event });
    post({ kind: "end" });
  } catch (error) {
    post({ kind: "error", error: toWire(error) });
  }
}
