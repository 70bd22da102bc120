/**
 * Weights in memory as float32, shared by every session: what decoding, which reads each weight for each token, would
 * read slowly from the file. ONNX Runtime multiplies one row with a matrix stored [in, out] faster than with its
 * transpose, as PyTorch stores it, when there are more outputs than inputs (1.3 times at 576 to 1536, twice for a
 * head of 49152); half precision would be converted for every token.
 */

import { readTensor } from "../files/safetensors.ts";
import { input, type Value } from "../graph/graph.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { matrixOf, type Weights } from "../models/weights.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";

/** Input name → tensor. */
export type HeldWeights = ReadonlyMap<string, FloatTensor>;

const transposedInput = (matrix: string): string => `held.in,out:${matrix}`;
const tensorInput = (name: string): string => `held:${name}`;

/**
 * Matrices with more outputs than inputs, transposed, and whatever else is not float32. Empty when that takes more
 * than `limit` bytes: generation then runs from the mapped file, slower and in no memory. `fused` tensors are taken
 * instead of the checkpoint's.
 */
export function holdWeights(
  model: Model,
  trace: ModelTrace,
  limit: number,
  fused: ReadonlyMap<string, FloatTensor> = new Map(),
): HeldWeights {
  const read = (name: string, shape: readonly number[]): Float32Array =>
    fused.get(name)?.data ?? readStored(model, name, shape);
  const isHalf = (name: string, shape: readonly number[]): boolean => model.source.find(name, shape).dtype !== "f32";
  const transposed = new Map<string, readonly [rows: number, columns: number]>();
  const rowsRead = new Set<string>(); // tables that no layer multiplies with: a token reads one row
  for (const { kind, name, spec } of trace.modules.values()) {
    if (kind === "embedding") rowsRead.add(`${name}.weight`);
    else if (spec.layout !== "in,out" && spec.out > spec.in) {
      const matrix = matrixOf(name, spec);
      transposed.set(matrix.name, matrix.shape);
    }
  }
  const asStored = [...trace.tensors].filter(
    ([name, shape]) => !transposed.has(name) && !rowsRead.has(name) && (isHalf(name, shape) || fused.has(name)),
  );
  const elements = [...transposed, ...asStored].reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
  if (4 * elements > limit) return new Map();
  return new Map([
    ...[...transposed].map(([name, [rows, columns]]): [string, FloatTensor] => {
      const data = transpose(read(name, [rows, columns]), rows, columns);
      return [transposedInput(name), floatTensor([columns, rows], data)];
    }),
    ...asStored.map(([name, shape]): [string, FloatTensor] => {
      return [tensorInput(name), floatTensor(shape, read(name, shape))];
    }),
  ]);
}

/** Those of `tensors` that are not among the held ones: a table whose rows are read, or all when nothing is held. */
export function notHeld(
  held: HeldWeights,
  tables: ReadonlySet<string>,
  tensors: ReadonlyMap<string, FloatTensor>,
): ReadonlyMap<string, FloatTensor> {
  return new Map(
    [...tensors].filter(
      ([name]) => tables.has(name) || !(held.has(transposedInput(name)) || held.has(tensorInput(name))),
    ),
  );
}

/** `base`, with held tensors as inputs in place of mapped ones. `replaced` are tensors that adapters take whole. */
export function heldWeights(base: Weights, held: HeldWeights, replaced: ReadonlyMap<string, Value>): Weights {
  if (held.size === 0) return base;
  const inputs = new Map<string, Value>();
  const find = (tensor: string, named: (tensor: string) => string): Value | null => {
    const name = named(tensor);
    const found = replaced.has(tensor) ? undefined : held.get(name);
    if (!found) return null;
    const value = inputs.get(name) ?? input(name, "f32", found.shape);
    inputs.set(name, value);
    return value;
  };
  const get: Weights["get"] = (name, shape) => find(name, tensorInput) ?? base.get(name, shape);
  return {
    ...base,
    get,
    linear: (module, x, spec) => {
      const { name } = matrixOf(module, spec);
      const turned = find(name, transposedInput);
      const matrix = turned ?? find(name, tensorInput);
      if (!matrix) return base.linear(module, x, spec);
      const transB = !turned && spec.layout !== "in,out";
      return spec.bias ? gemm(x, matrix, get(`${module}.bias`, [spec.out]), { transB }) : matMul(x, matrix, { transB });
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
