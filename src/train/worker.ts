/** The training thread: runs the loop and posts its events. */

import { parentPort, workerData } from "node:worker_threads";
import { runtimeOn } from "../runtime/devices.ts";
import { toWire } from "../wire-error.ts";
import type { FromWorker, WorkerInput } from "./start.ts";
import { trainHere } from "./train.ts";

const { input, stop } = workerData as WorkerInput;
const post = (message: FromWorker): void => parentPort!.postMessage(message);

try {
  const stopRequested = (): boolean => Atomics.load(stop, 0) !== 0;
  const runtime = runtimeOn(input.device ?? "cpu");
  for await (const event of trainHere(input, { runtime, stopRequested })) post({ kind: "event", event });
  post({ kind: "end" });
} catch (error) {
  post({ kind: "error", error: toWire(error) });
}
