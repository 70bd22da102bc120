/**
 * Low-rank branches of several adapters beside linear layers and convolutions: y + Σ scale · (x ∗ A) ∗ B, where ∗ is the
 * layer's own product and B acts on single pixels.
 */

import type { Value } from "../graph/graph.ts";
import { add, scale as times } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { conv2d } from "../graph/ops/conv.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import type { Weights } from "../models/weights.ts";

export interface GraphBranch {
  /** [r, in], or [r, in, kernel, kernel] beside a convolution; matrices and kernels of one pixel stand for each other. */
  readonly A: Value;
  /** [out, r], or [out, r, 1, 1]. */
  readonly B: Value;
  /** α / r times the adapter's weight. */
  readonly scale: number;
}

/** The weights with branches by module. */
export function withBranches(base: Weights, branches: ReadonlyMap<string, readonly GraphBranch[]>): Weights {
  return {
    ...base,
    linear: (module, x, spec) => {
      const own = branches.get(module) ?? [];
      return own.reduce(
        (y, { A, B, scale }) => {
          const r = A.shape[0]!;
          const low = matMul(x, reshape(A, [r, spec.in]), { transB: true, alpha: scale }); // [N, r]
          return gemm(low, reshape(B, [spec.out, r]), y, { transB: true });
        },
        base.linear(module, x, spec),
      );
    },
    conv: (module, x, spec) => {
      const own = branches.get(module) ?? [];
      return own.reduce(
        (y, { A, B, scale }) => {
          const r = A.shape[0]!;
          const low = conv2d(x, reshape(A, [r, spec.in, spec.kernel, spec.kernel]), null, spec); // [B, r, P, Q]
          return add(y, conv2d(times(low, scale), reshape(B, [spec.out, r, 1, 1])));
        },
        base.conv(module, x, spec),
      );
    },
  };
}
