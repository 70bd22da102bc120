/** Scores of the same rows again and again, by a model with adapters: to compare two of them, or to time them. */

import type { Example } from "../data/example.ts";
import { logitsProgram, type MountedAdapter } from "../program/program.ts";
import { createRunner } from "../program/runner.ts";
import { batchFacts, type Setup } from "../program/setup.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import { randomStream } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { virtualTokens } from "./adapters.ts";
import { type RowScores, scoreRows } from "./scores.ts";

/** A model with adapters on it, and their tensors by the names of the programs' inputs. */
export interface Scored {
  readonly setup: Setup;
  readonly mounted: readonly MountedAdapter[];
  readonly tensors: ReadonlyMap<string, Tensor>;
}

export interface Scorer {
  score(rows: readonly Example[]): Promise<RowScores[]>;
  close(): Promise<void>;
}

/** Its session opens with the first call and stays open. */
export function createScorer({ setup, mounted, tensors }: Scored, runtime: Runtime, session: SessionOptions): Scorer {
  const { model, task } = setup;
  const runner = createRunner({
    runtime,
    session,
    build: (shape) => logitsProgram({ model, task, adapters: mounted, shape }),
  });
  const facts = batchFacts(setup, virtualTokens(mounted));
  return { score: (rows) => scoreRows(runner, rows, facts, tensors), close: () => runner.close() };
}

/** Rows of random tokens, the same every time; shorter where the model has fewer positions. */
export function randomRows({ model }: Setup, rows: number, tokens: number): Example[] {
  const { vocabularySize, maxPositions } = model.config;
  const length = Math.min(tokens, maxPositions ?? tokens);
  return Array.from({ length: rows }, (_, row) => {
    const random = randomStream(row, 0x9906e);
    return { ids: Int32Array.from({ length }, () => random.integer(vocabularySize)), line: row + 1 };
  });
}
