/**
 * DoRA (Liu et al. 2024, arXiv:2402.09353): the adapted matrix keeps its direction and learns its magnitude,
 * W' = m / ‖W + s·B·A‖ · (W + s·B·A) with a norm and a magnitude m per output. The norm counts as a constant in the
 * gradient (section 4.3). The bias stays outside. Details as PEFT's `tuners/lora/dora.py`.
 */

import type { Value } from "../graph/graph.ts";
import { add, div, mul, scale, sqrt, sub } from "../graph/ops/arithmetic.ts";
import { reduceSum, reshape } from "../graph/ops/broadcast.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import { detach } from "../graph/ops/rule.ts";
import type { EmbeddingSpec, LinearSpec, Weights } from "../models/weights.ts";
import { type Branch, matrixShape, placedValue } from "./branch.ts";
import type { DecorateOptions } from "./method.ts";

export interface DoraContext {
  readonly base: Weights;
  readonly branch: Branch;
  value(key: string): Value;
  readonly options: DecorateOptions;
}

/** y of a linear layer; `dropped` is x after dropout, as which the whole branch sees it. */
export function doraLinear(context: DoraContext, x: Value, dropped: Value, spec: LinearSpec): Value {
  const { base, branch, value, options } = context;
  const frozen = options.frozen ?? base;
  const bare = { ...spec, bias: false };
  const plain = frozen.linear(branch.module, dropped, bare); // [N, out]
  const low = matMul(dropped, value(branch.A.key), { transB: true, alpha: branch.scaling }); // [N, r]
  const decomposed = mul(
    gemm(low, placedValue(branch, value(branch.B.key)), plain, { transB: true }),
    magnitudeRatio(context),
  );
  if (options.weight === 1 && frozen === base && dropped === x) {
    return spec.bias ? add(decomposed, base.get(`${branch.module}.bias`, [spec.out])) : decomposed;
  }
  return add(base.linear(branch.module, x, spec), scale(sub(decomposed, plain), options.weight));
}

/** Rows of an embedding; `low` [N, r] are the columns of A that the ids pick. */
export function doraEmbedding(context: DoraContext, low: Value, ids: Value, spec: EmbeddingSpec): Value {
  const { base, branch, value, options } = context;
  const frozen = options.frozen ?? base;
  const plain = frozen.embedding(branch.module, ids, spec);
  const adapted = gemm(low, value(branch.B.key), plain, { transB: true, alpha: branch.scaling });
  const decomposed = mul(adapted, magnitudeRatio(context));
  if (options.weight === 1 && frozen === base) return decomposed;
  return add(base.embedding(branch.module, ids, spec), scale(sub(decomposed, plain), options.weight));
}

/**
 * m / ‖W + s·B·A‖ as a row [1, out]. B·A never exists:
 * ‖W + s·B·A‖² = ‖W‖² + 2s·Σ (W·Aᵀ)∘B + s²·Σ (B·A·Aᵀ)∘B, sums over each output's row.
 */
function magnitudeRatio({ base, branch, value, options }: DoraContext): Value {
  const { layout, matrix, scaling, out } = branch;
  const W = (options.frozen ?? base).get(matrix, matrixShape(branch));
  const [A, B] = [value(branch.A.key), placedValue(branch, value(branch.B.key))];
  const inputs = layout === "in,out" ? 0 : 1;
  const column = (x: Value): Value => reshape(x, [out, 1]);
  const own = column(reduceSum(mul(W, W), [inputs]));
  const crossed = matMul(W, A, { transA: layout === "in,out", transB: true, alpha: 2 * scaling }); // [out, r]
  const gram = matMul(A, A, { transB: true, alpha: scaling ** 2 }); // [r, r]
  const update = reduceSum(mul(add(crossed, matMul(B, gram)), B), [1]); // [out, 1]
  const norm = detach(reshape(sqrt(add(own, update)), [out]));
  return reshape(div(value(branch.magnitude!.key), norm), [1, out]);
}
