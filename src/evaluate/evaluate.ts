/** Loss of a model with its adapters over a data set: the mean over all target tokens of the file. */

import type { Example } from "../data/example.ts";
import { type BatchFacts, countTargets, prepareBatch } from "../program/batch.ts";
import type { Runner } from "../program/runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Tokens that one evaluation pass holds, about. */
const TOKENS_A_PASS = 512;

export interface LossResult {
  /** Mean over target tokens, or over rows. */
  readonly loss: number;
  readonly targetTokens: number;
  readonly rows: number;
}

/** Evaluates with `runner`, whose programs give `loss` (lossProgram). */
export async function evaluateLoss(
  runner: Runner,
  examples: readonly Example[],
  facts: BatchFacts,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<LossResult> {
  let sum = 0;
  let targetTokens = 0;
  for (const part of passes(examples)) {
    const batch = prepareBatch(part, facts, 1);
    const outputs = await runner.run(batch, tensors);
    sum += Number(outputs.get("loss")!.data[0]);
    targetTokens += countTargets(part, facts);
  }
  return { loss: sum / targetTokens, targetTokens, rows: examples.length };
}

/** Examples in passes of about as many tokens, rows of like length together; every row once. */
export function passes(examples: readonly Example[]): Example[][] {
  const sorted = examples.toSorted((a, b) => a.ids.length - b.ids.length || a.line - b.line);
  const all: Example[][] = [];
  let pass: Example[] = [];
  let tokens = 0;
  for (const example of sorted) {
    if (pass.length > 0 && tokens + example.ids.length > TOKENS_A_PASS) {
      all.push(pass);
      pass = [];
      tokens = 0;
    }
    pass.push(example);
    tokens += example.ids.length;
  }
  if (pass.length > 0) all.push(pass);
  return all;
}
