/**
 * Multi-head attention over streams, with grouped keys and values, a cache of earlier tokens and virtual prefix keys.
 * Letters: B streams, T tokens, H query heads, KV key and value heads, G = H / KV, D head width, K keys in all.
 */

import type { Value } from "../graph/graph.ts";
import { input } from "../graph/graph.ts";
import { softCap, softmax } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { expand, reshape, zerosOf } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { concat, split, transpose } from "../graph/ops/movement.ts";
import type { MaskKind, Stream } from "./stream.ts";
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
  return transpose(reshape(x, [B, T, heads, D]), [0, 2, 1, 3]);
}

/** [B, heads, T, D] → [N, heads·D] */
export function joinHeads(x: Value, { N }: Stream): Value {
  const [, heads = 0, , D = 0] = x.shape;
  return reshape(transpose(x, [0, 2, 1, 3]), [N, heads * D]);
}

/** q [B, H, T, D] against k and v [B, KV, T, D], with whatever the cache and the adapters add: [N, H·D]. */
export function attention(w: Weights, stream: Stream, q: Value, k: Value, v: Value, options: AttentionOptions): Value {
  const { layer, H, KV, D, scale, mask } = options;
  const { B, T } = stream;
  stream.produced.set(`keys.${layer}`, k);
  stream.produced.set(`values.${layer}`, v);

  const blocks: { keys: Value; values: Value }[] = [];
  const prefix = w.prefix(layer, KV, D);
  if (prefix) {
    const every = (x: Value): Value => expand(reshape(x, [1, ...x.shape]), [B, ...x.shape]);
    blocks.push({ keys: every(prefix.keys), values: every(prefix.values) });
  }
  if (stream.past) {
    const shape = [B, KV, stream.past.S, D];
    blocks.push({
      keys: input(`past.keys.${layer}`, "f32", shape),
      values: input(`past.values.${layer}`, "f32", shape),
    });
  }
  blocks.push({ keys: k, values: v });

  // Queries of one key head lie side by side, so that keys and values are never repeated.
  const grouped = reshape(q, [B, KV, (H / KV) * T, D]);
  const parts = blocks.map(({ keys }) => matMul(grouped, keys, { transB: true, alpha: scale }));
  const K = parts.reduce((sum, part) => sum + part.shape[3]!, 0);
  let scores = reshape(concat(parts, 3), [B, H, T, K]);
  if (options.softCap) scores = softCap(scores, options.softCap);
  const seen = stream.mask(mask);
  const virtual = prefix ? [zerosOf([B, 1, T, prefix.keys.shape[1]!])] : [];
  const shown = softmax(add(scores, concat([...virtual, seen], 3))); // [B, H, T, K]
  const weights = w.dropout(shown, `attention.${layer}`, options.dropout ?? 0);

  const shares = split(
    reshape(weights, [B, KV, (H / KV) * T, K]),
    parts.map((part) => part.shape[3]!),
    3,
  );
  const mixed = blocks.map(({ values }, i) => matMul(shares[i]!, values)).reduce(add); // [B, KV, G·T, D]
  return joinHeads(reshape(mixed, [B, H, T, D]), stream);
}
