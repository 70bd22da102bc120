/**
 * Weights with a stack of low-rank adapters beside them: y = x·Wᵀ + ((x·Aᵀ) ⊙ f)·B, the factors f by row of x and rank.
 * Letters: N tokens, M hidden rows that the head reads, R ranks of all adapters.
 */

import { input, scalar, type Value } from "../graph/graph.ts";
import { equal, mul, where } from "../graph/ops/arithmetic.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import type { Weights } from "../models/weights.ts";
import { type BranchSizes, stackInput } from "./rank-stack.ts";

/** Name of the input of the factors [N, R]: an adapter's weight at its ranks for its rows' tokens, else 0. */
export const STACK_FACTORS = "stack.factors";

export interface StackedWeights {
  /** For the layers, which read all N tokens. */
  readonly layers: Weights;
  /** For a head that reads the hidden rows `rows` [M]. */
  head(rows: Value): Weights;
}

export function stackedWeights(base: Weights, sizes: BranchSizes, R: number): StackedWeights {
  const factors = input(STACK_FACTORS, "f32", [base.stream.N, R]);
  const withFactors = (own: Value): Weights => {
    const unused = equal(own, scalar(0));
    return {
      ...base,
      linear: (module, x, spec) => {
        const y = base.linear(module, x, spec);
        const size = sizes.get(module);
        if (!size) return y;
        const low = matMul(x, input(stackInput("A", module), "f32", [R, size.in]), { transB: true });
        // Chosen, not only multiplied: another row's adapter may have made it infinite.
        const chosen = where(unused, scalar(0), mul(low, own));
        return gemm(chosen, input(stackInput("B", module), "f32", [R, size.out]), y);
      },
    };
  };
  return { layers: withFactors(factors), head: (rows) => withFactors(gatherRows(factors, rows)) };
}
