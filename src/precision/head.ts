/**
 * The backward product of a vocabulary head, dx = dy·W, in eight bits. A row of dy is a softmax less one label: few
 * large numbers and a long tail, which a scale made for the large ones would round to nothing. So the largest numbers
 * of a row are multiplied exactly, by rows of W, and what is left is quantised by its own, much smaller scale: an
 * entry is off by at most the smallest exact one over 254.
 */

import type { Value } from "../graph/graph.ts";
import { abs, add, neg } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { gatherElements, scatterElements, topK } from "../graph/ops/gather.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { cast, concat } from "../graph/ops/movement.ts";
import { type QuantizedRows, quantizeRows } from "../graph/ops/quantise.ts";
import { reduceMin } from "../graph/ops/reduce.ts";

/** Numbers of a row that are multiplied exactly: on a language model 0.7 % of error are left, of the 7 % without. */
const EXACT = 32;

/** Fewest outputs of a head whose backward product is worth eight bits. */
export const VOCABULARY = 2048;

/**
 * dy [n, V] · W [V, C]: `product` multiplies bytes by W, `rows` gives rows of W by their numbers. What dy has had added
 * at single columns, as a cross-entropy its labels, is multiplied exactly, too: then the rest of dy is shares, none of
 * which is below zero, and their magnitudes need no pass.
 */
export function headBackward(
  dy: Value,
  product: (bytes: QuantizedRows) => Value,
  rows: (numbers: Value) => Value,
): Value {
  const [n = 0] = dy.shape;
  const [base = dy, columns, updates] = dy.node.op.type === "ScatterElements" ? dy.node.inputs : [];
  const { values, indices } = topK(base.node.op.type === "Softmax" ? base : abs(base), EXACT); // [n, EXACT]
  const largest = gatherElements(base, indices);
  const tail = quantizeRows(scatterElements(base, indices, neg(largest)), reduceMin(values, [-1]));
  const numbers = columns ? concat([cast(indices, columns.dtype), columns], 1) : indices; // [n, k]
  const factors = updates ? concat([largest, updates], 1) : largest;
  const k = factors.shape[1]!;
  const taken = rows(reshape(numbers, [n * k])); // [n·k, C]
  const C = taken.shape[1]!;
  const exact = matMul(reshape(factors, [n, 1, k]), reshape(taken, [n, k, C]));
  return add(product(tail), reshape(exact, [n, C]));
}
