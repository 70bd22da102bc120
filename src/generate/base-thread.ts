/** A base on a thread of its own: the library's `load()`. Computing blocks the thread it is on, and this is not the caller's. */

import { Worker } from "node:worker_threads";
import { UsageError } from "../errors.ts";
import type { Completion, GenerateOptions } from "./generate.ts";
import type { GeneratingBase, GenerationLoad, LoadOptions } from "./load.ts";
import type { Piece } from "./sequence.ts";
import { type ComputingThread, computingThread } from "./thread-calls.ts";
import type { ToolFormat } from "./tool-format.ts";

/** An adapter that a base has loaded, for that base's generations. It is freed with the last reference to it. */
export interface LoadedAdapter {
  /** The PEFT folder. */
  readonly path: string;
}

/** A base that computes on a thread of its own. */
export type BaseThread = GeneratingBase<LoadedAdapter>;

export interface BaseSettings {
  readonly name: string;
  readonly options: LoadOptions;
}

/** What the thread tells of its base when it is ready. */
export interface BaseFacts {
  readonly load: GenerationLoad;
  readonly toolFormat: ToolFormat | null;
}

/** Numbers of loaded adapters, and their weights. */
export type NumberedAdapters = readonly (readonly [adapter: number, weight: number])[];

export interface BaseCalls {
  readonly load: { input: { readonly adapter: number; readonly path: string }; piece: never; result: null };
  readonly drop: { input: number; piece: never; result: null };
  readonly generate: {
    input: { readonly request: GenerateOptions; readonly adapters: NumberedAdapters };
    piece: Piece;
    result: { readonly completion: Completion; readonly load: GenerationLoad };
  };
  readonly logits: {
    input: { readonly tokenIds: Int32Array; readonly adapters: NumberedAdapters };
    piece: never;
    result: Float32Array;
  };
}

/** Starts the thread and opens the base on it. Throws what `loadBase` throws. */
export async function startBase(name: string, options: LoadOptions): Promise<BaseThread> {
  const workerData: BaseSettings = { name, options };
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData });
  const thread: ComputingThread<BaseFacts, BaseCalls> = await computingThread(worker);
  let { load } = thread.facts;
  let count = 0;
  const numbers = new WeakMap<LoadedAdapter, number>();
  let closed = false;
  const unused = new FinalizationRegistry<number>((adapter) => {
    if (!closed) thread.ask("drop", adapter).catch(() => {}); // the thread has ended, and the adapter with it
  });
  const numbered = (adapters: GenerateOptions<LoadedAdapter>["adapters"] = []): NumberedAdapters =>
    adapters.map(([adapter, weight]) => {
      const number = numbers.get(adapter);
      if (number !== undefined) return [number, weight];
      throw new UsageError(`The adapter ${adapter.path} belongs to another base. Open it with this base's adapter().`);
    });

  async function* generate({
    signal,
    adapters,
    ...request
  }: GenerateOptions<LoadedAdapter>): AsyncGenerator<Piece, Completion> {
    const plain = "tokenIds" in request ? { ...request, tokenIds: Int32Array.from(request.tokenIds) } : request;
    const pieces = thread.stream("generate", { request: plain, adapters: numbered(adapters) }, signal);
    const result = yield* pieces;
    load = result.load;
    return result.completion;
  }

  return {
    toolFormat: thread.facts.toolFormat,
    adapter: async (path) => {
      const number = ++count;
      await thread.ask("load", { adapter: number, path });
      const adapter: LoadedAdapter = { path };
      numbers.set(adapter, number);
      unused.register(adapter, number);
      return adapter;
    },
    generate,
    complete: async (request) => {
      for (const pieces = generate(request); ; ) {
        const { done, value } = await pieces.next();
        if (done) return value;
      }
    },
    logits: (tokenIds, adapters) =>
      thread.ask("logits", { tokenIds: Int32Array.from(tokenIds), adapters: numbered(adapters) }),
    load: () => load,
    close: async () => {
      closed = true;
      await thread.close();
    },
  };
}
