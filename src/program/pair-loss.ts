/**
 * Losses that compare embeddings of a batch with one another. Sources: sentence-transformers
 * `losses/MultipleNegativesRankingLoss.py` (InfoNCE, van den Oord et al. 2018) and `losses/CosineSimilarityLoss.py`.
 * Letters: M texts of the batch (a row's texts side by side, then nothing), C width.
 */

import type { Example } from "../data/example.ts";
import { input, type Value } from "../graph/graph.ts";
import { add, mul, reciprocal, scale, shift, sqrt, sub } from "../graph/ops/arithmetic.ts";
import { reduceSum, reshape, sumAll } from "../graph/ops/broadcast.ts";
import { gatherElements } from "../graph/ops/gather.ts";
import { matMul } from "../graph/ops/matmul.ts";
import type { Task } from "../task.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { crossEntropy } from "./loss.ts";

/** Factor on cosines before their softmax. */
export const RANKING_SCALE = 20;

const LOWEST = -3.4028234663852886e38;

/**
 * The weighted sum of each row's loss, from all texts' embeddings [M, C]. Rows to rank: how surely an anchor is told its own
 * positive among all positives and negatives of the batch. Rows with scores: the squared error of the cosine.
 */
export function pairLoss(task: Task, embeddings: Value): Value {
  const M = embeddings.shape[0]!;
  const unit = normalized(embeddings);
  const cosines = matMul(unit, unit, { transB: true }); // [M, M]
  const partners = input("partners", "i32", [M]);
  const weights = reshape(input("weights", "f32", [M]), [M, 1]);
  if (task === "sentence-similarity") {
    const error = sub(gatherElements(cosines, reshape(partners, [M, 1])), input("values", "f32", [M, 1]));
    return sumAll(mul(mul(error, error), weights));
  }
  const scores = add(scale(cosines, RANKING_SCALE), input("candidates", "f32", [1, M]));
  return sumAll(mul(crossEntropy(scores, partners), weights));
}

/** Rows of length 1; rows of zeros stay. */
function normalized(x: Value): Value {
  const length = sqrt(shift(reduceSum(mul(x, x), [-1]), 1e-24));
  return mul(x, reciprocal(length));
}

/** The texts of a row, the anchor first. */
export function textsOf(example: Example): readonly Pick<Example, "ids" | "typeIds">[] {
  return [example, ...(example.others ?? [])];
}

/** The inputs of `pairLoss` for rows that each weigh `weight`, their texts side by side in M places. */
export function pairInputs(examples: readonly Example[], task: Task, M: number, weight: number): Map<string, Tensor> {
  const partners = new Int32Array(M);
  const weights = new Float32Array(M);
  const values = new Float32Array(M);
  const candidates = new Float32Array(M).fill(LOWEST);
  let at = 0;
  for (const example of examples) {
    const count = textsOf(example).length;
    partners[at] = at + 1;
    weights[at] = weight;
    values[at] = Number(example.label ?? 0);
    candidates.fill(0, at + 1, at + count);
    at += count;
  }
  const inputs = new Map<string, Tensor>([
    ["partners", { dtype: "i32", shape: [M], data: partners }],
    ["weights", { dtype: "f32", shape: [M], data: weights }],
  ]);
  if (task === "sentence-similarity") inputs.set("values", { dtype: "f32", shape: [M, 1], data: values });
  else inputs.set("candidates", { dtype: "f32", shape: [1, M], data: candidates });
  return inputs;
}
