/** The base and adapters of runs, answering one prompt beside each other. */

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../adapters/adapter.ts";
import { WEIGHTS_FILE } from "../adapters/peft-folder.ts";
import { UsageError } from "../errors.ts";
import { type LoadedBase, loadBase } from "../generate/load.ts";
import type { Piece } from "../generate/sequence.ts";
import type { Runtime } from "../runtime/session.ts";
import { listCheckpoints } from "../train/state.ts";
import type { LoggedRun } from "./runs.ts";

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

/** Keeps the last base open, and its adapters as they were when last read. */
export function createChat(runtime: Runtime, threads: number): Chat {
  let open: { readonly model: string; readonly base: LoadedBase; readonly adapters: Map<string, Read> } | null = null;
  const openBase = async (model: string): Promise<NonNullable<typeof open>> => {
    if (open?.model === model) return open;
    await open?.base.close();
    open = null;
    open = { model, base: await loadBase(model, { threads }, runtime), adapters: new Map() };
    return open;
  };
  return {
    answer: async function* ({ runs, prompt, chat, maxTokens, temperature, signal }) {
      const models = [...new Set(runs.map(({ model }) => model))];
      if (models.length !== 1 || models[0] == null) {
        throw new UsageError(
          models.length === 0
            ? "Choose a run: its base and its adapter answer."
            : `The chosen runs have different bases (${models.join(", ")}). Choose runs of one.`,
        );
      }
      const { base, adapters } = await openBase(models[0]);
      const from = chat ? { messages: [{ role: "user", content: prompt }] } : { prompt };
      const columns: { column: string; pieces: AsyncGenerator<Piece, unknown> }[] = [];
      for (const run of [null, ...runs]) {
        const used = run === null ? [] : [[await readAdapter(base, adapters, run), 1] as const];
        const options = { ...from, maxTokens, temperature, adapters: used, signal };
        columns.push({ column: run?.id ?? "base", pieces: base.generate(options) });
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
    close: async () => {
      await open?.base.close();
      open = null;
    },
  };
}

interface Read {
  readonly time: number;
  readonly adapter: Adapter;
}

/** The run's adapter, or that of its newest checkpoint; read again when the file is a new one. */
async function readAdapter(base: LoadedBase, held: Map<string, Read>, { id, folder }: LoggedRun): Promise<Adapter> {
  const path = [folder, listCheckpoints(folder).at(-1)?.path].find(
    (each) => each !== undefined && existsSync(join(each, WEIGHTS_FILE)),
  );
  if (path === undefined) {
    throw new UsageError(`${id} has no adapter yet: it has neither ended nor saved a checkpoint (--save-steps).`);
  }
  const time = statSync(join(path, WEIGHTS_FILE)).mtimeMs;
  const found = held.get(path);
  if (found?.time === time) return found.adapter;
  const adapter = await base.adapter(path);
  held.set(path, { time, adapter });
  return adapter;
}
