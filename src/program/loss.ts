/** Losses over the rows that a head reads, in chunks, so that the scores of all rows never exist together. */

import { gradient } from "../autodiff/gradient.ts";
import { constantOf, scalar, type Value } from "../graph/graph.ts";
import { softmax } from "../graph/ops/activation.ts";
import { add, log, mul, neg, sub } from "../graph/ops/arithmetic.ts";
import { reshape, sumAll } from "../graph/ops/broadcast.ts";
import { gatherElements, scatterElements } from "../graph/ops/gather.ts";
import { concat, slice } from "../graph/ops/movement.ts";
import { reduceMax } from "../graph/ops/reduce.ts";
import { after, detach, withGradient } from "../graph/ops/rule.ts";

/** Σ wᵢ·(−log softmax(scores)ᵢ[labelᵢ]) for scores [n, V], labels [n] and weights w [n]: a scalar. */
export function crossEntropy(scores: Value, labels: Value, weights: Value): Value {
  const n = scores.shape[0]!;
  const columns = reshape(labels, [n, 1]);
  const rowWeights = reshape(weights, [n, 1]);
  const shares = softmax(scores); // [n, V]
  // log Σ exp(s) = max s − log(max share): the largest share never underflows.
  const logSum = sub(reduceMax(scores, [-1]), log(reduceMax(shares, [-1])));
  const losses = sub(logSum, gatherElements(scores, columns)); // [n, 1]
  return withGradient(sumAll(mul(losses, rowWeights)), [scores], (dy) => {
    const factor = times(rowWeights, dy);
    return [scatterElements(mul(shares, factor), columns, neg(factor))];
  });
}

/** Σ wᵢ·Σⱼ (scores − targets)² / K for scores and targets [n, K]: a scalar. */
export function squaredError(scores: Value, targets: Value, weights: Value): Value {
  const [n = 0, K = 1] = scores.shape;
  const difference = sub(scores, targets);
  return sumAll(mul(mul(difference, difference), mul(reshape(weights, [n, 1]), scalar(1 / K))));
}

/**
 * The sum of `lossOf(rows from, to)` over equal chunks of `rows` [M, C], each chunk's gradient computed beside its loss, so
 * that no chunk's scores outlive it. `trainable` are the values that the head itself may depend on.
 */
export function chunkedLoss(
  rows: Value,
  chunks: number,
  trainable: readonly Value[],
  lossOf: (rows: Value, from: number, to: number) => Value,
): Value {
  const M = rows.shape[0]!;
  const size = M / chunks;
  const losses: Value[] = [];
  const rowGradients: Value[] = [];
  const held: (Value | null)[] = trainable.map(() => null);
  for (let from = 0; from < M; from += size) {
    const to = Math.min(M, from + size);
    const part = slice(rows, 0, from, to);
    // A chunk begins when the one before it is done: else the runtime may hold the scores of all of them.
    const previous = rowGradients.at(-1);
    const cut = detach(previous ? after(part, previous) : part);
    const loss = lossOf(cut, from, to);
    const [dRows, ...dTrainable] = gradient(loss, [cut, ...trainable]);
    losses.push(loss);
    rowGradients.push(after(dRows!, loss));
    dTrainable.forEach((dy, i) => {
      if (dy) held[i] = held[i] ? add(held[i], dy) : dy;
    });
  }
  const used = trainable.flatMap((value, i) => (held[i] ? [{ value, dy: held[i] }] : []));
  return withGradient(losses.reduce(add), [rows, ...used.map(({ value }) => value)], (dy) => [
    times(concat(rowGradients, 0), dy),
    ...used.map((each) => times(each.dy, dy)),
  ]);
}

/** x·dy, without a pass when dy is the seed of a loss, 1. */
function times(x: Value, dy: Value): Value {
  return constantOf(dy)?.tensor.data[0] === 1 ? x : mul(x, dy);
}
