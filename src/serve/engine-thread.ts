/** The computing thread as the server's thread sees it. */

import { Worker } from "node:worker_threads";
import { type ComputingThread, computingThread } from "../generate/thread-calls.ts";
import type {
  Embedded,
  EngineCalls,
  EngineFacts,
  EngineLoad,
  EngineSettings,
  GenerateCall,
  LoadedFacts,
  ServedCompletion,
  ServedPiece,
} from "./protocol.ts";

export interface EngineThread {
  readonly facts: EngineFacts;
  /** What the thread last told of its work. */
  readonly load: EngineLoad;
  /** Loads the adapter of a folder under a number of the caller's. */
  loadAdapter(adapter: number, path: string): Promise<LoadedFacts>;
  /** Frees an adapter; calls under way keep it. */
  dropAdapter(adapter: number): void;
  /** Pieces of a completion; the generator returns the whole's numbers. Aborting ends it with "cancelled". */
  generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<ServedPiece, ServedCompletion>;
  /** A vector a text, and the tokens of all of them. */
  embed(texts: readonly string[], adapters: GenerateCall["adapters"]): Promise<Embedded>;
  /** Settles when the thread has ended by itself, which it never should. */
  readonly crashed: Promise<Error>;
  close(): Promise<void>;
}

/** Starts the thread and waits for the base. Throws what opening the model throws. */
export async function startEngineThread(settings: EngineSettings): Promise<EngineThread> {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: settings });
  const thread: ComputingThread<EngineFacts, EngineCalls> = await computingThread(worker);
  let load: EngineLoad = { running: 0, waiting: 0, cacheBytes: 0, prefixHits: 0 };
  return {
    facts: thread.facts,
    crashed: thread.crashed,
    get load() {
      return load;
    },
    async *generate(call, signal) {
      const result = yield* thread.stream("generate", call, signal);
      load = result.load;
      return result.completion;
    },
    loadAdapter: (adapter, path) => thread.ask("load", { adapter, path }),
    dropAdapter: (adapter) => {
      thread.ask("drop", adapter).catch(() => {}); // the thread has ended, and the adapter with it
    },
    embed: (texts, adapters) => thread.ask("embed", { texts, adapters }),
    close: () => thread.close(),
  };
}
