/**
 * Multi-head attention over streams, with grouped keys and values, a cache of earlier tokens and virtual prefix keys.
 * Letters: B streams, T tokens, H query heads, KV key and value heads, G = H / KV, D head width, K keys in all.
 */

import type { Value } from "../graph/graph.ts";
import { input } from "../graph/graph.ts";
import { softCap, softmax } from "../graph/ops/activation.ts";
import { add, mul, sub } from "../graph/ops/arithmetic.ts";
import { expand, reduceSum, reshape, zerosOf } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { concat, split, transpose } from "../graph/ops/movement.ts";
import { withGradient } from "../graph/ops/rule.ts";
import { recomputed } from "./segment.ts";
import { keysOf, type MaskKind, type Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface AttentionOptions {
  readonly layer: number;
  readonly H: number;
  readonly KV: number;
  readonly D: number;
  /** Factor on the scores, usually 1 / √D. */
  readonly scale: number;
  readonly mask: MaskKind;
  /** Soft cap on the scores (Gemma 2). */
  readonly softCap?: number | null;
  /** Rate of dropout on the weights. */
  readonly dropout?: number;
}

/** [N, heads·D] → [B, heads, T, D] */
export function splitHeads(x: Value, { B, T }: Stream, heads: number, D: number): Value {
  if (T === 1) return reshape(x, [B, heads, 1, D]); // one token's heads lie as they shall
  return transpose(reshape(x, [B, T, heads, D]), [0, 2, 1, 3]);
}

/** [B, heads, T, D] → [N, heads·D] */
export function joinHeads(x: Value, { N, T }: Stream): Value {
  const [, heads = 0, , D = 0] = x.shape;
  return reshape(T === 1 ? x : transpose(x, [0, 2, 1, 3]), [N, heads * D]);
}

/** Scores are kept for the backward pass while a head's fill fewer places than this; else they are computed again. */
const KEPT_PLACES = 2048 ** 2;

/** q [B, H, T, D] against k and v [B, KV, T, D], with whatever the cache and the adapters add: [N, H·D]. */
export function attention(w: Weights, stream: Stream, q: Value, k: Value, v: Value, options: AttentionOptions): Value {
  const { layer, KV, D, mask } = options;
  const { B, T } = stream;
  const of = options.dropout ? 1 : stream.parts; // dropout is drawn for all places at once
  stream.produced.set(`keys.${layer}`, k);
  stream.produced.set(`values.${layer}`, v);

  const earlier: Block[] = [];
  const prefix = w.prefix(layer, KV, D);
  if (prefix) {
    const every = (x: Value): Value => expand(reshape(x, [1, ...x.shape]), [B, ...x.shape]);
    earlier.push({ keys: every(prefix.keys), values: every(prefix.values) });
  }
  if (stream.past) {
    const shape = [B, KV, stream.past.S, D];
    earlier.push({
      keys: input(`past.keys.${layer}`, "f32", shape),
      values: input(`past.values.${layer}`, "f32", shape),
    });
  }
  const virtual = prefix ? [zerosOf([B, 1, T / of, prefix.keys.shape[1]!])] : [];
  const [queries, keys, values] = [q, k, v].map((x) => split(x, of, 2)) as [Parts, Parts, Parts];
  const mixed = queries.map((query, index) => {
    const part = { index, of };
    const count = (keysOf(T, mask, part) * of) / T;
    const seen = concat([...virtual, stream.mask(mask, part)], 3);
    const attend = ([some, ownKeys, ownValues]: Parts): Value =>
      attendTo(w, some!, [...earlier, { keys: ownKeys!, values: ownValues! }], seen, options);
    const inputs = [query, concat(keys.slice(0, count), 2), concat(values.slice(0, count), 2)];
    return of > 1 && (stream.recompute || T * T >= KEPT_PLACES) ? recomputed(inputs, attend) : attend(inputs);
  });
  return joinHeads(concat(mixed, 2), stream);
}

type Parts = readonly Value[];

/** Keys and values [B, KV, n, D] of some earlier or own tokens. */
interface Block {
  readonly keys: Value;
  readonly values: Value;
}

/** softmax(scale · query·keysᵀ + seen)·values over all blocks: query [B, H, t, D], seen [B, 1, t, K], result as query. */
function attendTo(
  w: Weights,
  query: Value,
  blocks: readonly Block[],
  seen: Value,
  { layer, H, KV, D, scale, softCap: cap, dropout = 0 }: AttentionOptions,
): Value {
  const [B = 0, , t = 0] = query.shape;
  // Queries of one key head lie side by side, so that keys and values are never repeated.
  const G = H / KV;
  const grouped = reshape(query, [B, KV, G * t, D]);
  const parts = blocks.map(({ keys }) => matMul(grouped, keys, { transB: true, alpha: scale }));
  const K = parts.reduce((sum, part) => sum + part.shape[3]!, 0);
  let scores = concat(parts, 3); // [B, KV, G·t, K]
  // What one query sees, all heads see, however they are grouped: one token's scores stay as they are.
  if (!(w.stream.decoding && t === 1)) scores = reshape(scores, [B, H, t, K]);
  if (cap) scores = softCap(scores, cap);
  const masked = add(scores, seen);
  const shown = softmax(masked); // [B, H, t, K]
  const weights = w.dropout(shown, `attention.${layer}`, dropout);
  const byBlock = (x: Value): readonly Value[] =>
    split(
      reshape(x, [B, KV, G * t, K]),
      parts.map((part) => part.shape[3]!),
      3,
    );
  const shares = byBlock(weights);
  const values = blocks.map((block) => block.values);
  const mixed = values.map((each, i) => matMul(shares[i]!, each)).reduce(add); // [B, KV, G·t, D]
  const y = reshape(mixed, [B, H, t, D]);
  if (weights !== shown) return y;
  // The sum over keys in softmax's gradient is that of dy·y over D, which is narrower (Dao et al. 2022, "FlashAttention").
  return withGradient(y, [masked, ...values], (dy) => {
    const grouped = reshape(dy, mixed.shape);
    const dShares = concat(
      values.map((each) => matMul(grouped, each, { transB: true })),
      3,
    );
    const centred = sub(reshape(dShares, shown.shape), reduceSum(mul(dy, y), [-1]));
    return [mul(shown, centred), ...shares.map((share) => matMul(share, grouped, { transA: true }))];
  });
}
