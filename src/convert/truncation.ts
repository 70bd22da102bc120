/** Best approximations of a given rank (Eckart and Young), as factors with scaling 1. */

import { multiply, qr, randomisedSvd, type Svd, svd, transpose, truncate } from "../tensor/linear-algebra.ts";
import { randomStream } from "../tensor/random.ts";
import type { LowRank } from "./lora-file.ts";

/** Extent up to which a matrix is decomposed exactly; beyond, only its largest singular values are sought. */
const EXACT = 256;
const ITERATIONS = 8;
const SEED = 0;

export interface Truncated {
  readonly factors: LowRank;
  /** Σσ² of what is kept, and of all. */
  readonly kept: number;
  readonly total: number;
}

interface Kind {
  readonly in: number;
  readonly out: number;
  readonly embedding: boolean;
}

/**
 * ΔW [out, in] as factors of at most `rank`. Beyond 256 rows and columns the decomposition is a random projection with
 * eight power iterations: the kept energy is the best one up to a small part of the spectrum's next values.
 */
export function truncateMatrix(delta: Float64Array, kind: Kind, rank: number): Truncated {
  const { in: width, out } = kind;
  const total = delta.reduce((sum, value) => sum + value * value, 0);
  const extent = Math.min(width, out);
  const wanted = Math.min(rank, extent);
  const exact = extent <= EXACT || wanted > extent / 4;
  const found = exact
    ? truncate(svd(delta, out, width), out, width, wanted)
    : randomisedSvd(delta, out, width, wanted, ITERATIONS, randomStream(SEED, out, width), wanted + 16);
  return { factors: factorsOf(found, kind, rank), kept: energyOf(found.s), total };
}

/**
 * B · A for B [out, k] and A [k, in] as factors of the rank that `choose` takes from the singular values: exact, by QR
 * of both factors and the decomposition of a k × k matrix.
 */
export function truncateProduct(
  B: ArrayLike<number>,
  A: ArrayLike<number>,
  k: number,
  kind: Kind,
  choose: (s: Float64Array) => number,
): Truncated {
  const { in: width, out } = kind;
  const left = qr(B, out, k);
  const right = qr(transpose(A, k, width), width, k);
  const [p, q] = [Math.min(out, k), Math.min(width, k)];
  const core = svd(multiply(left.r, transpose(right.r, q, k), p, k, q), p, q);
  const found = {
    u: multiply(left.q, core.u, out, p, core.s.length),
    s: core.s,
    vt: multiply(core.vt, transpose(right.q, width, q), core.s.length, q, width),
  };
  const rank = choose(core.s);
  const kept = truncate(found, out, width, rank);
  return { factors: factorsOf(kept, kind, rank), kept: energyOf(kept.s), total: energyOf(core.s) };
}

/** B = U · diag(s), A = Vᵀ, zeros beyond the singular values that there are. */
function factorsOf({ u, s, vt }: Svd, { in: width, out, embedding }: Kind, rank: number): LowRank {
  const A = new Float64Array(rank * width);
  const B = new Float64Array(out * rank);
  A.set(vt);
  for (let i = 0; i < out; i++) {
    for (let j = 0; j < s.length; j++) B[i * rank + j] = u[i * s.length + j]! * s[j]!;
  }
  return { rank, in: width, out, A, B, scaling: 1, embedding };
}

/** Σσ², from the smallest on. */
function energyOf(s: Float64Array): number {
  return s.reduceRight((sum, value) => sum + value * value, 0);
}
