/**
 * A frozen base computed in eight bits, forward and backward: y ≈ (x₈·W₈)·s_x·s_W with a scale a row of x (token, pixel)
 * and a scale a column of W (output channel). Backward the same way with its own copy of Wᵀ, whose scales are per input
 * channel. Low-rank branches, norms and softmax stay in float32; the head's backward is half exact (head.ts). An x some of
 * whose channels are far larger than the others is spread first (spread.ts).
 */

import { stored, type Value } from "../graph/graph.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { cast, transpose } from "../graph/ops/movement.ts";
import { integerMatMul, type QuantizedRows, quantizeRows } from "../graph/ops/quantise.ts";
import { withGradient } from "../graph/ops/rule.ts";
import { toImage, toTokens } from "../models/image-layers.ts";
import { isPointwise, type LinearSpec, matrixOf, type Weights } from "../models/weights.ts";
import type { ByteMatrix, NamedTensor, QuantisedBase, QuantisedMatrix } from "./cache.ts";
import { headBackward } from "./head.ts";
import { dealt, dealtRows, hadamards } from "./spread.ts";

/** Weights whose linear layers run in eight bits, but for matrices in `trained`, which are whole tensors of an adapter. */
export function int8Weights(base: Weights, { matrices, source }: QuantisedBase, trained: ReadonlySet<string>): Weights {
  const hadamardOf = hadamards();
  // Projections of one input quantise it once.
  const held = new Map<Value, QuantizedRows>();
  const bytesOf = (x: Value, gains: NamedTensor | null): QuantizedRows => {
    const bytes = held.get(x) ?? quantizeRows(gains ? dealt(mul(x, value(gains)), hadamardOf(x.shape[1]!)) : x);
    held.set(x, bytes);
    return bytes;
  };
  const get: Weights["get"] = (name, shape) => {
    const matrix = trained.has(name) || source.has(name) ? undefined : matrices.get(name);
    if (!matrix) return base.get(name, shape);
    const whole = dequantised(matrix, hadamardOf); // [in, out]
    return matrix.layout === "in,out" ? whole : transpose(whole, [1, 0]);
  };
  const linear: Weights["linear"] = (module, x, spec) => {
    const { name } = matrixOf(module, spec);
    const matrix = matrices.get(name);
    if (!matrix || trained.has(name)) return base.linear(module, x, spec);
    const { backward, mean, gains } = matrix;
    const forward = product(bytesOf(x, gains), matrix.forward);
    const biased = spec.bias ? add(forward, base.get(`${module}.bias`, [spec.out])) : forward;
    return withGradient(biased, [x], (dy) => {
      if (!backward) return [floatBackward(base, module, spec, dy)];
      if (!mean) return [product(bytesOf(dy, null), backward)];
      const table = { rows: spec.out, width: spec.in };
      const rows = (numbers: Value): Value => base.embedding(name.replace(/\.weight$/, ""), numbers, table);
      return [headBackward(dy, { product: (bytes) => product(bytes, backward), rows, mean: value(mean) })];
    });
  };
  return {
    ...base,
    get,
    linear,
    conv: (module, x, spec) => {
      const name = `${module}.weight`;
      if (!isPointwise(spec) || !matrices.has(name) || trained.has(name)) return base.conv(module, x, spec);
      return toImage(linear(module, toTokens(x), { in: spec.in, out: spec.out, bias: true }), x);
    },
  };
}

function product({ bytes, scales: rowScales }: QuantizedRows, { weights, scales }: ByteMatrix): Value {
  return mul(integerMatMul(bytes, value(weights), value(scales)), rowScales);
}

/** dy·W in float32: for small heads. */
function floatBackward(base: Weights, module: string, spec: LinearSpec, dy: Value): Value {
  const { name, shape } = matrixOf(module, spec);
  return matMul(dy, base.get(name, shape), { transB: spec.layout === "in,out" });
}

function value({ name, tensor }: NamedTensor): Value {
  return stored(name, tensor);
}

/** What the forward products multiply by, as floats [in, out]. */
function dequantised(
  { forward: { weights, scales }, gains }: QuantisedMatrix,
  hadamardOf: ReturnType<typeof hadamards>,
): Value {
  const whole = mul(cast(value(weights), "f32"), value(scales));
  if (!gains) return whole;
  const K = weights.tensor.shape[0]!;
  return mul(dealtRows(whole, hadamardOf(K)), reshape(value(gains), [K, 1]));
}
