/**
 * Disentangled attention (He et al. 2021, DeBERTa): scores of content with content, of content with distance (c2p) and
 * of distance with content (p2c). A row's tokens lie side by side in their stream, so the distance of two tokens of one
 * row is the distance of their places, and scores by distance become scores by place by a shift, never by a gather.
 * Letters: B streams, T tokens, H heads, D head width, C = H·D, P rows of the table of distances.
 */

import { ModelError } from "../errors.ts";
import { integers, type Value } from "../graph/graph.ts";
import { softmax } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { slice, transpose } from "../graph/ops/movement.ts";
import { joinHeads } from "./attention.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

/** Embeddings of all distances that a stream can hold, in the two orders that the shift needs. */
export interface Distances {
  /** Row c is of the distance T - 1 - c [2T, C]: for c2p. */
  readonly falling: Value;
  /** Row c is of the distance c - (T - 1) [2T, C]: for p2c. */
  readonly rising: Value;
}

/** The rows of `table` [P, C] by distance (query's place - key's place); `rowOf` tells a distance's row. */
export function distances(table: Value, { T }: Stream, rowOf: (distance: number) => number): Distances {
  const rows = (distanceOf: (c: number) => number): Value =>
    gatherRows(table, integers(Array.from({ length: 2 * T }, (_, c) => rowOf(distanceOf(c)))));
  return { falling: rows((c) => T - 1 - c), rising: rows((c) => c - (T - 1)) };
}

/** A distance's row in a table of 2·span: distance + span, held within the table. */
export function plainRow(distance: number, span: number): number {
  return Math.min(Math.max(distance + span, 0), 2 * span - 1);
}

/**
 * The same with logarithmic buckets: distances up to buckets / 2 have their own, further ones share, up to `longest`.
 * In float32 as transformers computes it, so that no distance falls on the other side of an edge.
 */
export function bucketRow(distance: number, buckets: number, longest: number): number {
  const middle = Math.floor(buckets / 2);
  const far = Math.abs(distance);
  if (far <= middle) return plainRow(distance, buckets);
  const f = Math.fround;
  const share = f(f(Math.log(f(far / middle))) / f(Math.log(f((longest - 1) / middle))));
  const bucket = Math.ceil(f(share * (middle - 1))) + middle;
  return plainRow(Math.sign(distance) * bucket, buckets);
}

export interface DisentangledInputs {
  readonly layer: number;
  readonly q: Value; // [B, H, T, D], like k and v
  readonly k: Value;
  readonly v: Value;
  /** Projected embeddings of falling distances [2T, C]; null without c2p. */
  readonly distanceKeys: Value | null;
  /** Projected embeddings of rising distances [2T, C]; null without p2c. */
  readonly distanceQueries: Value | null;
  /** Factor on the sum of all scores. */
  readonly scale: number;
  /** Rate of dropout on the weights. */
  readonly dropout: number;
}

/** softmax(scale · (q·kᵀ + c2p + p2c))·v: [N, C]. */
export function disentangledAttention(w: Weights, stream: Stream, inputs: DisentangledInputs): Value {
  const { layer, q, k, v, distanceKeys, distanceQueries, scale } = inputs;
  const [, H = 0, T = 0, D = 0] = q.shape;
  if (w.prefix(layer, H, D)) {
    throw new ModelError(
      "DeBERTa models take no prefix of keys and values: its places have no distances. Use another method, such as LoRA or prompt tuning.",
    );
  }
  const byHead = (x: Value): Value => transpose(reshape(x, [1, 2 * T, H, D]), [0, 2, 1, 3]); // [1, H, 2T, D]
  const product = (a: Value, b: Value): Value => matMul(a, b, { transB: true, alpha: scale });

  let scores = product(q, k); // [B, H, T, T]
  if (distanceKeys) scores = add(scores, byPlace(product(q, byHead(distanceKeys))));
  if (distanceQueries) {
    scores = add(scores, transpose(byPlace(product(k, byHead(distanceQueries))), [0, 1, 3, 2]));
  }
  const shown = softmax(add(scores, stream.mask({ causal: false, window: null })));
  const weights = w.dropout(shown, `attention.${layer}`, inputs.dropout);
  return joinHeads(matMul(weights, v), stream);
}

/** y[…, i, j] = x[…, i, T - 1 - i + j] for x [B, H, T, 2T]: rows of 2T read as rows of 2T - 1 shift by one a row. */
function byPlace(x: Value): Value {
  const [B = 0, H = 0, T = 0] = x.shape;
  const flat = reshape(x, [B, H, 2 * T * T]);
  const shifted = slice(flat, 2, T - 1, T - 1 + T * (2 * T - 1));
  return slice(reshape(shifted, [B, H, T, 2 * T - 1]), 3, 0, T);
}
