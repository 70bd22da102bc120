/** The drawing thread as the page's thread sees it. Calls wait for each other: one picture at a time. */

import { Worker } from "node:worker_threads";
import { LowrankError } from "../errors.ts";
import { mailbox } from "../runtime/mailbox.ts";
import { errorFrom } from "../wire-error.ts";
import type { DrawCall, DrawEvent, DrawerData, DrawerSettings, FromDrawer, ToDrawer } from "./image-messages.ts";

export interface Drawer {
  /** Aborting ends it after the step under way. Throws what opening the model and its adapters throws. */
  draw(call: DrawCall, signal: AbortSignal): AsyncGenerator<DrawEvent>;
  close(): Promise<void>;
}

/** Starts the thread with its first call, and again after one in which it ended. */
export function createDrawer(settings: DrawerSettings): Drawer {
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  let worker: Worker | null = null;
  let number = 0;
  let receive: (message: FromDrawer | Error) => void = () => {};
  let turn: Promise<void> = Promise.resolve();

  const start = (): Worker => {
    const started = new Worker(new URL("./image-worker.js", import.meta.url), {
      workerData: { ...settings, cancelled } satisfies DrawerData,
    });
    const ended = (error: Error): void => {
      if (worker !== started) return;
      worker = null;
      receive(error);
    };
    started.on("message", (message: FromDrawer) => receive(message));
    started.on("error", ended);
    started.on("exit", (code) => ended(new LowrankError(`The drawing thread ended with code ${code}. Draw again.`)));
    return started;
  };

  async function* run(call: DrawCall, signal: AbortSignal): AsyncGenerator<DrawEvent> {
    if (signal.aborted) return;
    const own = ++number;
    const { put, take } = mailbox<FromDrawer | Error>();
    receive = put;
    worker ??= start();
    worker.postMessage({ number: own, call } satisfies ToDrawer);
    const cancel = (): void => void Atomics.store(cancelled, 0, own);
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for (;;) {
        const message = await take();
        if (message instanceof Error) throw message;
        else if (message.number !== own)
          continue; // of a call that was left
        else if ("error" in message) throw errorFrom(message.error);
        else if ("end" in message) return;
        else yield message.event;
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  return {
    draw: async function* (call, signal) {
      const before = turn;
      let done: () => void = () => {};
      turn = new Promise((resolve) => {
        done = resolve;
      });
      try {
        await before;
        yield* run(call, signal);
      } finally {
        done();
      }
    },
    close: async () => {
      const open = worker;
      worker = null;
      await open?.terminate();
    },
  };
}
