/** The computing thread as the server's thread sees it: calls in, promises and streams out. */

import { Worker } from "node:worker_threads";
import { LowrankError } from "../errors.ts";
import { errorFrom } from "../wire-error.ts";
import type {
  EngineFacts,
  EngineLoad,
  EngineSettings,
  FromEngine,
  GenerateCall,
  LoadedFacts,
  ServedCompletion,
  ServedPiece,
  ToEngine,
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

type Embedded = Extract<FromEngine, { readonly kind: "embedded" }>;
type Answer = Extract<FromEngine, { readonly call: number }>;

/** Starts the thread and waits for the base. Throws what opening the model throws. */
export async function startEngineThread(settings: EngineSettings): Promise<EngineThread> {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: settings });
  const calls = new Map<number, (answer: Answer | Error) => void>();
  let number = 0;
  let closing = false;
  let load: EngineLoad = { running: 0, waiting: 0, cacheBytes: 0, prefixHits: 0 };
  let crash: (error: Error) => void = () => {};
  const crashed = new Promise<Error>((resolve) => {
    crash = resolve;
  });
  const send = (message: ToEngine): void => worker.postMessage(message);

  const facts = await new Promise<EngineFacts>((resolve, reject) => {
    worker.on("message", (message: FromEngine) => {
      if (message.kind === "ready") resolve(message.facts);
      else if (message.kind === "failed") reject(errorFrom(message.error));
      else {
        if (message.kind === "done") load = message.load;
        calls.get(message.call)?.(message);
      }
    });
    const ended = (error: Error): void => {
      reject(error);
      for (const answer of [...calls.values()]) answer(error);
      if (!closing) crash(error);
    };
    worker.on("error", ended);
    worker.on("exit", (code) => ended(new LowrankError(`The computing thread ended with code ${code}.`)));
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });

  /** Sends a call that has one answer, of this kind. */
  const once = <K extends Answer["kind"]>(
    kind: K,
    message: (call: number) => ToEngine,
  ): Promise<Extract<Answer, { readonly kind: K }>> =>
    new Promise((resolve, reject) => {
      const id = ++number;
      calls.set(id, (answer) => {
        calls.delete(id);
        if (answer instanceof Error) reject(answer);
        else if (answer.kind === "error") reject(errorFrom(answer.error));
        else if (answer.kind === kind) resolve(answer as Extract<Answer, { readonly kind: K }>);
      });
      send(message(id));
    });

  async function* generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<ServedPiece, ServedCompletion> {
    const id = ++number;
    const waiting: (Answer | Error)[] = [];
    let wake: () => void = () => {};
    let over = false;
    calls.set(id, (answer) => {
      waiting.push(answer);
      wake();
    });
    const cancel = (): void => send({ kind: "cancel", call: id });
    send({ kind: "generate", call: id, ...call });
    if (signal.aborted) cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for (;;) {
        const answer = waiting.shift();
        if (!answer) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        over = answer instanceof Error || answer.kind !== "piece";
        if (answer instanceof Error) throw answer;
        if (answer.kind === "piece") yield answer.piece;
        else if (answer.kind === "error") throw errorFrom(answer.error);
        else if (answer.kind === "done") return answer.completion;
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      calls.delete(id);
      if (!over) cancel();
    }
  }

  return {
    facts,
    crashed,
    get load() {
      return load;
    },
    generate,
    loadAdapter: async (adapter, path) =>
      (await once("loaded", (call) => ({ kind: "load", call, adapter, path }))).facts,
    embed: (texts, adapters) => once("embedded", (call) => ({ kind: "embed", call, texts, adapters })),
    dropAdapter: (adapter) => send({ kind: "drop", adapter }),
    close: async () => {
      closing = true;
      const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
      send({ kind: "close" });
      await ended;
    },
  };
}
