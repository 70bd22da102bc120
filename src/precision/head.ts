/**
 * The backward product of a vocabulary head, dx = dy·W, in eight bits. A row of dy is a softmax less one label: few
 * large numbers and a long tail, which a scale made for the large ones would round to nothing. So the largest numbers
 * of a row are multiplied exactly, by rows of W, and what is left is quantised by its own, much smaller scale: an
 * entry is off by at most the smallest exact one over 254. Most of the tail lies below that and is lost, all of it of one
 * sign: so bytes carry W less its mean row, and the tail's sum, which is known, times the mean row is added exactly.
 */

import type { Value } from "../graph/graph.ts";
import { abs, add, mul, neg, shift } from "../graph/ops/arithmetic.ts";
import { reduceSum, reshape } from "../graph/ops/broadcast.ts";
import { gatherElements, scatterElements, topK } from "../graph/ops/gather.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { cast, concat } from "../graph/ops/movement.ts";
import { type QuantizedRows, quantizeRows } from "../graph/ops/quantise.ts";
import { reduceMin } from "../graph/ops/reduce.ts";

/** Numbers of a row that are multiplied exactly. */
const EXACT = 32;

/** Fewest outputs of a head whose backward product is worth eight bits. */
export const VOCABULARY = 2048;

/** A head's matrix W [V, C] as the backward pass reads it. */
export interface HeadMatrix {
  /** W's mean row [C]. */
  readonly mean: Value;
  /** Bytes [n, V] times W less its mean row: [n, C]. */
  product(bytes: QuantizedRows): Value;
  /** Rows of W by their numbers. */
  rows(numbers: Value): Value;
}

/**
 * dy [n, V] · W. What dy has had added at single columns, as a cross-entropy its labels, is multiplied exactly, too: then
 * the rest of dy is shares, none of which is below zero, whose magnitudes need no pass, and which add up to 1.
 */
export function headBackward(dy: Value, { mean, product, rows }: HeadMatrix): Value {
  const [n = 0] = dy.shape;
  const [base = dy, columns, updates] = dy.node.op.type === "ScatterElements" ? dy.node.inputs : [];
  const shares = base.node.op.type === "Softmax";
  const { values, indices } = topK(shares ? base : abs(base), EXACT); // [n, EXACT]
  const largest = gatherElements(base, indices);
  const tail = scatterElements(base, indices, neg(largest));
  const bytes = quantizeRows(tail, reduceMin(values, [-1]));
  const weight = shares ? shift(neg(reduceSum(largest, [-1])), 1) : reduceSum(tail, [-1]); // the tail's sum [n, 1]
  const numbers = columns ? concat([cast(indices, columns.dtype), columns], 1) : indices; // [n, k]
  const factors = updates ? concat([largest, updates], 1) : largest;
  const k = factors.shape[1]!;
  const taken = rows(reshape(numbers, [n * k])); // [n·k, C]
  const C = taken.shape[1]!;
  const exact = matMul(reshape(factors, [n, 1, k]), reshape(taken, [n, k, C]));
  return add(add(product(bytes), reshape(exact, [n, C])), mul(weight, mean));
}
