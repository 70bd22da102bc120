/**
 * Attention without a mask, as one op that never holds all scores: the kernel of the runtime works in tiles, and the
 * gradient computes the scores again, a chunk of queries at a time.
 * Letters: B images, N queries, M keys, H heads, D head width.
 */

import { apply, demand, type Op, type Value } from "../graph.ts";
import { softmax } from "./activation.ts";
import { add, mul, sub } from "./arithmetic.ts";
import { reduceSum, reshape } from "./broadcast.ts";
import { matMul } from "./matmul.ts";
import { concat, slice, transpose } from "./movement.ts";
import { after } from "./rule.ts";

export interface AttentionAttributes {
  readonly heads: number;
  /** Factor on the scores. */
  readonly scale: number;
}

/** Scores that one chunk of the gradient may hold, in elements: 64 MB. */
const CHUNK = 2 ** 24;

const Attention: Op<AttentionAttributes> = {
  type: "Attention",
  infer: ([q, k, v], { heads }) => {
    const [B = 0, N = 0, width = 0] = q!.shape;
    const fits =
      k!.shape[0] === B &&
      v!.shape[0] === B &&
      k!.shape[1] === v!.shape[1] &&
      k!.shape[2] === width &&
      width % heads === 0;
    demand(
      fits && v!.shape[2]! % heads === 0,
      "Attention",
      `[${q!.shape}], [${k!.shape}], [${v!.shape}], ${heads} heads`,
    );
    return [{ dtype: q!.dtype, shape: [B, N, v!.shape[2]!] }];
  },
  gradient: ({ dy, x: [q, k, v], attributes: { heads, scale } }) => {
    const split = (x: Value): Value => {
      const [B = 0, rows = 0, width = 0] = x.shape;
      return transpose(reshape(x, [B, rows, heads, width / heads]), [0, 2, 1, 3]); // [B, H, rows, D]
    };
    const join = (x: Value, { shape }: Value): Value => reshape(transpose(x, [0, 2, 1, 3]), shape);
    const [Q, K, V, dY] = [split(q!), split(k!), split(v!), split(dy)];
    const [B = 0, , N = 0] = Q.shape;
    const size = Math.max(1, Math.floor(CHUNK / (B * heads * K.shape[2]!)));
    const dQ: Value[] = [];
    let [dK, dV]: [Value | null, Value | null] = [null, null];
    for (let from = 0; from < N; from += size) {
      const to = Math.min(N, from + size);
      const rows = slice(Q, 2, from, to);
      // A chunk begins when the one before it is done, so that only one's scores exist.
      const part = dK ? after(rows, dK) : rows;
      const dPart = slice(dY, 2, from, to);
      const shares = softmax(matMul(part, K, { transB: true, alpha: scale })); // [B, H, n, M]
      const weighted = mul(matMul(dPart, V, { transB: true }), shares);
      const dScores = sub(weighted, mul(shares, reduceSum(weighted, [-1])));
      dQ.push(matMul(dScores, K, { alpha: scale }));
      const keys = matMul(dScores, part, { transA: true, alpha: scale });
      const values = matMul(shares, dPart, { transA: true });
      dK = dK ? add(dK, keys) : keys;
      dV = dV ? add(dV, values) : values;
    }
    return [join(concat(dQ, 2), q!), join(dK!, k!), join(dV!, v!)];
  },
};

/** softmax(scale · q·kᵀ)·v of each head: q [B, N, H·D], k [B, M, H·D], v [B, M, H·D] → [B, N, H·D]. */
export function attend(q: Value, k: Value, v: Value, attributes: AttentionAttributes): Value {
  return apply(Attention, [q, k, v], attributes);
}
