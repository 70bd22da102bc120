/**
 * A thread that computes and the thread that asks it: numbered calls by name one way; results, pieces on the way to them
 * and errors the other way, under the same numbers.
 */

import { once } from "node:events";
import { parentPort, type Worker } from "node:worker_threads";
import { LowrankError } from "../errors.ts";
import { mailbox } from "../runtime/mailbox.ts";
import { errorFrom, toWire, type WireError } from "../wire-error.ts";

/** What a thread can be asked, by name. */
export type Calls<C> = {
  readonly [K in keyof C]: { readonly input: unknown; readonly piece: unknown; readonly result: unknown };
};

type ToThread =
  | { readonly kind: "call"; readonly call: number; readonly name: PropertyKey; readonly input: unknown }
  | { readonly kind: "cancel"; readonly call: number }
  | { readonly kind: "close" };

type Reply =
  | { readonly kind: "piece"; readonly piece: unknown }
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "error"; readonly error: WireError };

type FromThread =
  | { readonly kind: "ready"; readonly facts: unknown }
  | { readonly kind: "failed"; readonly error: WireError }
  | (Reply & { readonly call: number });

export interface ComputingThread<Facts, C extends Calls<C>> {
  /** What it told of itself when it was ready. */
  readonly facts: Facts;
  ask<K extends keyof C>(name: K, input: C[K]["input"]): Promise<C[K]["result"]>;
  /** The pieces of a call as they come; the generator returns its result. Aborting, and leaving early, cancel the call. */
  stream<K extends keyof C>(
    name: K,
    input: C[K]["input"],
    signal?: AbortSignal,
  ): AsyncGenerator<C[K]["piece"], C[K]["result"]>;
  /** Settles when the thread has ended by itself, which it never should. */
  readonly crashed: Promise<Error>;
  /** Ends the thread; calls under way fail. */
  close(): Promise<void>;
}

/**
 * The worker, as soon as it is ready. Throws what it could not begin with. It keeps the process alive only while it is
 * asked something.
 */
export async function computingThread<Facts, C extends Calls<C>>(worker: Worker): Promise<ComputingThread<Facts, C>> {
  const calls = new Map<number, (reply: Reply) => void>();
  let number = 0;
  let over: Error | null = null;
  let closing = false;
  let crash: (error: Error) => void = () => {};
  const crashed = new Promise<Error>((resolve) => {
    crash = resolve;
  });
  const send = (message: ToThread): void => worker.postMessage(message);

  const facts = await new Promise<Facts>((resolve, reject) => {
    worker.on("message", (message: FromThread) => {
      if (message.kind === "ready") resolve(message.facts as Facts);
      else if (message.kind === "failed") reject(errorFrom(message.error));
      else calls.get(message.call)?.(message);
    });
    const ended = (error: Error): void => {
      over ??= closing ? new LowrankError("The base was closed.") : error;
      reject(over);
      for (const receive of [...calls.values()]) receive({ kind: "error", error: toWire(over) });
      if (!closing) crash(over);
    };
    worker.on("error", ended);
    worker.on("exit", (code) => ended(new LowrankError(`The computing thread ended with code ${code}.`)));
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });
  worker.unref();

  /** Sends a call under a number of its own. */
  const open = (name: PropertyKey, input: unknown, receive: (reply: Reply) => void): number => {
    if (over) throw over;
    const call = ++number;
    send({ kind: "call", call, name, input });
    calls.set(call, receive);
    worker.ref();
    return call;
  };
  const forget = (call: number): void => {
    calls.delete(call);
    if (calls.size === 0 && !closing) worker.unref(); // who closes waits for its end
  };

  async function* stream(name: PropertyKey, input: unknown, signal?: AbortSignal): AsyncGenerator<unknown, unknown> {
    const { put, take } = mailbox<Reply>();
    let done = false;
    const call = open(name, input, put);
    const cancel = (): void => send({ kind: "cancel", call });
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      for (;;) {
        const reply = await take();
        done = reply.kind !== "piece";
        if (reply.kind === "piece") yield reply.piece;
        else if (reply.kind === "error") throw errorFrom(reply.error);
        else return reply.result;
      }
    } finally {
      signal?.removeEventListener("abort", cancel);
      forget(call);
      if (!done) cancel();
    }
  }

  return {
    facts,
    crashed,
    stream,
    ask: async (name, input) => {
      for (const pieces = stream(name, input); ; ) {
        const { done, value } = await pieces.next();
        if (done) return value;
      }
    },
    close: async () => {
      if (over) return;
      closing = true;
      const ended = once(worker, "exit");
      worker.ref();
      send({ kind: "close" });
      await ended;
    },
  };
}

export type Answers<C extends Calls<C>> = {
  readonly [K in keyof C]: (
    input: C[K]["input"],
    call: { readonly signal: AbortSignal; emit(piece: C[K]["piece"]): void },
  ) => C[K]["result"] | Promise<C[K]["result"]>;
};

/** The worker's side: opens what computes, then answers calls until it is closed. */
export async function answerCalls<Facts, C extends Calls<C>>(
  open: () => Promise<{ readonly facts: Facts; readonly answers: Answers<C>; close(): Promise<void> }>,
): Promise<void> {
  const post = (message: FromThread): void => parentPort!.postMessage(message);
  const running = new Map<number, AbortController>();
  const opened = await open().catch((error: unknown) => {
    post({ kind: "failed", error: toWire(error) });
    return null;
  });
  if (!opened) return;

  const answer = async (call: number, name: keyof C, input: unknown): Promise<void> => {
    const controller = new AbortController();
    running.set(call, controller);
    try {
      const emit = (piece: unknown): void => post({ kind: "piece", call, piece });
      post({ kind: "result", call, result: await opened.answers[name](input, { signal: controller.signal, emit }) });
    } catch (error) {
      post({ kind: "error", call, error: toWire(error) });
    } finally {
      running.delete(call);
    }
  };
  parentPort!.on("message", (message: ToThread) => {
    if (message.kind === "call") void answer(message.call, message.name as keyof C, message.input);
    else if (message.kind === "cancel") running.get(message.call)?.abort();
    else void opened.close().finally(() => parentPort!.close());
  });
  post({ kind: "ready", facts: opened.facts });
}

/** Hands on the pieces of a generator and gives what it returns. */
export async function emitAll<P, R>(pieces: AsyncGenerator<P, R>, emit: (piece: P) => void): Promise<R> {
  for (;;) {
    const { done, value } = await pieces.next();
    if (done) return value;
    emit(value);
  }
}
