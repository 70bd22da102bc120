/** The base and adapters of runs, answering one prompt beside each other. */

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { WEIGHTS_FILE } from "../adapters/peft-folder.ts";
import { UsageError } from "../errors.ts";
import { type EngineThread, startEngineThread } from "../serve/engine-thread.ts";
import type { ServedPiece } from "../serve/protocol.ts";
import { listCheckpoints } from "../train/state.ts";
import type { LoggedRun } from "./runs.ts";

/** Of the thread: a handful of answers at a time. */
const LIMITS = { rows: 8, cacheTokens: 32_768, prefixBytes: 0, maxLength: null, maxRank: 4096 } as const;

interface Open {
  readonly model: string;
  readonly thread: EngineThread;
  /** Numbers of loaded adapters, and the time of their files, by path. */
  readonly adapters: Map<string, { readonly time: number; readonly number: number }>;
}

export interface ChatRequest {
  readonly runs: readonly LoggedRun[];
  readonly prompt: string;
  /** Through the chat template, as what a user says. */
  readonly chat: boolean;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly signal: AbortSignal;
}

/** A piece of the text of one column: "base", or a run. */
export interface ChatPiece {
  readonly column: string;
  readonly text: string;
}

export interface Chat {
  /** Throws UsageError for runs that cannot answer together. */
  answer(request: ChatRequest): AsyncGenerator<ChatPiece>;
  close(): Promise<void>;
}

/** Keeps the last base open, in a thread of its own, and the adapters as they were when last read. */
export function createChat(threads: number): Chat {
  let open: Open | null = null;
  const close = async (): Promise<void> => {
    const { thread } = open ?? {};
    open = null;
    await thread?.close();
  };
  const openBase = async (model: string): Promise<Open> => {
    if (open?.model === model) return open;
    await close();
    const opened: Open = { model, thread: await startEngineThread({ ...LIMITS, model, threads }), adapters: new Map() };
    open = opened;
    void opened.thread.crashed.then(() => {
      if (open === opened) open = null;
    });
    return opened;
  };
  return {
    close,
    answer: async function* ({ runs, prompt, chat, maxTokens, temperature, signal }) {
      const models = [...new Set(runs.map(({ model }) => model))];
      if (models.length !== 1 || models[0] == null) {
        throw new UsageError(
          models.length === 0
            ? "Choose a run: its base and its adapter answer."
            : `The chosen runs have different bases (${models.join(", ")}). Choose runs of one.`,
        );
      }
      const base = await openBase(models[0]);
      const from = chat ? { messages: [{ role: "user", content: prompt }] } : { prompt };
      const columns: { column: string; pieces: AsyncGenerator<ServedPiece, unknown> }[] = [];
      for (const run of [null, ...runs]) {
        const adapters = run === null ? [] : [[await readAdapter(base, run), 1] as const];
        const call = { prompt: from, options: { maxTokens, temperature }, adapters };
        columns.push({ column: run?.id ?? "base", pieces: base.thread.generate(call, signal) });
      }
      // A token of each at once: they are computed together.
      for (let left = columns; left.length > 0; ) {
        const round = await Promise.all(left.map(async (each) => ({ each, next: await each.pieces.next() })));
        left = [];
        for (const { each, next } of round) {
          if (next.done) continue;
          yield { column: each.column, text: next.value.text };
          left.push(each);
        }
      }
    },
  };
}

/** The run's adapter, or that of its newest checkpoint, as the thread numbers it; read again when the file is a new one. */
async function readAdapter({ thread, adapters }: Open, { id, folder }: LoggedRun): Promise<number> {
  const path = [folder, listCheckpoints(folder).at(-1)?.path].find(
    (each) => each !== undefined && existsSync(join(each, WEIGHTS_FILE)),
  );
  if (path === undefined) {
    throw new UsageError(`${id} has no adapter yet: it has neither ended nor saved a checkpoint (--save-steps).`);
  }
  const time = statSync(join(path, WEIGHTS_FILE)).mtimeMs;
  const found = adapters.get(path);
  if (found?.time === time) return found.number;
  const number = Math.max(0, ...[...adapters.values()].map((each) => each.number)) + 1;
  await thread.loadAdapter(number, path);
  if (found) thread.dropAdapter(found.number);
  adapters.set(path, { time, number });
  return number;
}
