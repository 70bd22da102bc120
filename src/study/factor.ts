/** The singular value decomposition of ΔW from its factors, without ever forming ΔW. */

import type { LowRank } from "../convert/lora-file.ts";
import { multiply, qr, type Svd, svd, transpose } from "../tensor/linear-algebra.ts";

/** ΔW = scaling · B · A = u · diag(s) · vt: exact, k = min(rank, in, out), by QR of both factors and an SVD of a small matrix. */
export function decompose({ rank, in: width, out, A, B, scaling }: LowRank): Svd {
  const [p, q] = [Math.min(out, rank), Math.min(width, rank)];
  const left = qr(B, out, rank);
  const right = qr(transpose(A, rank, width), width, rank);
  const core = svd(multiply(left.r, transpose(right.r, q, rank), p, rank, q), p, q);
  const k = core.s.length;
  return {
    u: multiply(left.q, core.u, out, p, k),
    s: core.s.map((value) => Math.abs(scaling) * value),
    vt: multiply(core.vt, transpose(right.q, width, q), k, q, width),
  };
}

/** Right-singular vectors of A [rank, in] as orthonormal rows [k, in], k = min(rank, in), by falling singular value. */
export function rightVectors({ rank, in: width, A }: LowRank): Float64Array {
  return svd(A, rank, width).vt;
}
