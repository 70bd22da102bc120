/**
 * Weights in memory as float32, shared by every session. Decoding reads each weight for each token, and ONNX Runtime
 * multiplies a single row twice as fast with a matrix stored [in, out] as with its transpose, which PyTorch stores;
 * half precision would be converted for every token.
 */

import { readTensor } from "../files/safetensors.ts";
import { input, type Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { matrixOf, type Weights } from "../models/weights.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";

/** Input name → tensor. */
export type HeldWeights = ReadonlyMap<string, FloatTensor>;

const matrixInput = (matrix: string): string => `held.in,out:${matrix}`;
const tensorInput = (name: string): string => `held:${name}`;

/**
 * Every linear layer's matrix as [in, out], and whatever else is not float32. Empty when that takes more than `limit`
 * bytes: generation then runs from the mapped file, slower and in no memory.
 */
export function holdWeights(model: Model, trace: ModelTrace, limit: number): HeldWeights {
  const matrices = new Map<string, { readonly shape: readonly [number, number]; readonly transposed: boolean }>();
  const tables = new Set<string>();
  for (const module of trace.modules.values()) {
    if (module.kind === "embedding") tables.add(`${module.name}.weight`);
    else {
      const { name, shape } = matrixOf(module.name, module.spec);
      const half = model.source.find(name, shape).dtype !== "f32";
      const transposed = module.spec.layout !== "in,out";
      if (half || transposed) matrices.set(name, { shape, transposed });
    }
  }
  // Rows of an embedding are read where they lie: a token needs one.
  const others = [...trace.tensors].filter(
    ([name, shape]) => !matrices.has(name) && !tables.has(name) && model.source.find(name, shape).dtype !== "f32",
  );
  const elements = [...matrices.values(), ...others.map(([, shape]) => ({ shape }))].reduce(
    (sum, { shape }) => sum + sizeOf(shape),
    0,
  );
  if (4 * elements > limit) return new Map();
  const held = new Map<string, FloatTensor>();
  for (const [name, { shape, transposed }] of matrices) {
    const data = readStored(model, name, shape);
    const [rows, columns] = shape;
    held.set(
      matrixInput(name),
      transposed ? floatTensor([columns, rows], transpose(data, rows, columns)) : floatTensor(shape, data),
    );
  }
  for (const [name, shape] of others) held.set(tensorInput(name), floatTensor(shape, readStored(model, name, shape)));
  return held;
}

/** `base`, with held tensors as inputs in place of mapped ones. `replaced` are tensors that adapters take whole. */
export function heldWeights(base: Weights, held: HeldWeights, replaced: ReadonlyMap<string, Value>): Weights {
  if (held.size === 0) return base;
  const inputs = new Map<string, Value>();
  const find = (name: string): Value | null => {
    const tensor = held.get(name);
    if (!tensor) return null;
    const value = inputs.get(name) ?? input(name, "f32", tensor.shape);
    inputs.set(name, value);
    return value;
  };
  const get: Weights["get"] = (name, shape) =>
    (replaced.has(name) ? null : find(tensorInput(name))) ?? base.get(name, shape);
  return {
    ...base,
    get,
    linear: (module, x, spec) => {
      const { name } = matrixOf(module, spec);
      const matrix = replaced.has(name) ? null : find(matrixInput(name));
      if (!matrix) return base.linear(module, x, spec);
      return spec.bias ? gemm(x, matrix, get(`${module}.bias`, [spec.out])) : matMul(x, matrix);
    },
    embedding: (module, ids, spec) => {
      const name = `${module}.weight`;
      const table = replaced.has(name) ? null : find(tensorInput(name));
      return table ? gatherRows(table, ids) : base.embedding(module, ids, spec);
    },
  };
}

/** A tensor of the checkpoint as float32. */
export function readStored(model: Model, name: string, shape: readonly number[]): Float32Array {
  const tensor = model.source.find(name, shape);
  return toFloat32(readTensor({ ...tensor, name, storedType: tensor.dtype }));
}

/** [rows, columns] → [columns, rows], in squares that stay in the processor's cache. */
function transpose(from: Float32Array, rows: number, columns: number): Float32Array {
  const side = 32;
  const to = new Float32Array(from.length);
  for (let top = 0; top < rows; top += side) {
    const bottom = Math.min(rows, top + side);
    for (let left = 0; left < columns; left += side) {
      const right = Math.min(columns, left + side);
      for (let column = left; column < right; column++) {
        const at = column * rows;
        for (let row = top; row < bottom; row++) to[at + row] = from[row * columns + column]!;
      }
    }
  }
  return to;
}
