/**
 * A frozen base computed in eight bits, forward and backward: y ≈ (x₈·W₈)·s_x·s_W with a scale a row of x (token, pixel)
 * and a scale a column of W (output channel). Backward the same way with its own copy of Wᵀ, whose scales are per input
 * channel. Low-rank branches, norms and softmax stay in float32; the head's backward is half exact (head.ts).
 */

import { stored, type Value } from "../graph/graph.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { cast, transpose } from "../graph/ops/movement.ts";
import { integerMatMul, type QuantizedRows, quantizeRest, quantizeRows } from "../graph/ops/quantise.ts";
import { withGradient } from "../graph/ops/rule.ts";
import { toImage, toTokens } from "../models/image-layers.ts";
import { isPointwise, type LinearSpec, matrixOf, type Weights } from "../models/weights.ts";
import type { ByteMatrix, NamedTensor, QuantisedBase } from "./cache.ts";
import { headBackward } from "./head.ts";

/** Weights whose linear layers run in eight bits, but for matrices in `trained`, which are whole tensors of an adapter. */
export function int8Weights(base: Weights, { matrices, source }: QuantisedBase, trained: ReadonlySet<string>): Weights {
  const bytesOf = memo(quantizeRows); // projections of one input quantise it once
  const get: Weights["get"] = (name, shape) => {
    const matrix = trained.has(name) || source.has(name) ? undefined : matrices.get(name);
    if (!matrix) return base.get(name, shape);
    const { weights, scales } = matrix.forward;
    const whole = mul(cast(value(weights), "f32"), value(scales)); // [in, out]
    return matrix.layout === "in,out" ? whole : transpose(whole, [1, 0]);
  };
  const linear: Weights["linear"] = (module, x, spec) => {
    const { name } = matrixOf(module, spec);
    const matrix = matrices.get(name);
    if (!matrix || trained.has(name)) return base.linear(module, x, spec);
    const bytes = bytesOf(x);
    const first = product(bytes, matrix.forward);
    const forward = matrix.twice ? add(first, product(quantizeRest(x, bytes), matrix.forward)) : first;
    const biased = spec.bias ? add(forward, base.get(`${module}.bias`, [spec.out])) : forward;
    const { backward, head } = matrix;
    return withGradient(biased, [x], (dy) => {
      if (!backward) return [floatBackward(base, module, spec, dy)];
      if (!head) return [product(bytesOf(dy), backward)];
      const table = { rows: spec.out, width: spec.in };
      const rows = (numbers: Value): Value => base.embedding(name.replace(/\.weight$/, ""), numbers, table);
      return [headBackward(dy, (bytes) => product(bytes, backward), rows)];
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

function memo(of: (x: Value) => QuantizedRows): (x: Value) => QuantizedRows {
  const held = new Map<Value, QuantizedRows>();
  return (x) => {
    const known = held.get(x) ?? of(x);
    held.set(x, known);
    return known;
  };
}
