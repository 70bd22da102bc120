/**
 * The tensors of one low-rank branch and what can be computed of them without a graph.
 * A module's matrix is stored "out,in" (PyTorch's Linear) or "in,out" (GPT-2's Conv1D, and every embedding table:
 * rows in, width out).
 */

import type { Value } from "../graph/graph.ts";
import { zerosOf } from "../graph/ops/broadcast.ts";
import { concat, slice } from "../graph/ops/movement.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { addProduct, productRows, transposed } from "./low-rank.ts";
import type { MergeStep, Parameter } from "./method.ts";

export interface Branch {
  readonly module: string;
  readonly kind: "linear" | "embedding";
  readonly in: number;
  readonly out: number;
  readonly layout: "out,in" | "in,out";
  /** The checkpoint's name of the matrix: another module's for a tied head. */
  readonly matrix: string;
  /** [r, in] */
  readonly A: Parameter;
  /** [out, r] */
  readonly B: Parameter;
  /** DoRA's magnitudes [out]; null for plain LoRA. */
  readonly magnitude: Parameter | null;
  readonly scaling: number;
  /** loralib's enable_lora: which of the equal slices of the outputs have a branch of their own; null for one branch. */
  readonly slices: readonly boolean[] | null;
  /** Initial factors whose effect is taken off the base (PiSSA, OLoRA); null where the base is left as it is. */
  readonly start: Start | null;
}

export interface Start {
  readonly A: FloatTensor;
  readonly B: FloatTensor;
}

/** How many of the slices have a branch. */
export function enabledCount(slices: readonly boolean[] | null): number {
  return slices ? slices.filter(Boolean).length : 1;
}

/** B as a graph's value [out, r]: with slices [out / n · k, r] each slice's rows stand beside its own rows of A. */
export function placedValue({ slices, out }: Branch, B: Value): Value {
  if (!slices) return B;
  const [rows, r] = [out / slices.length, B.shape[1]!];
  const width = r * enabledCount(slices);
  let at = 0;
  const parts = slices.map((enabled) => {
    if (!enabled) return zerosOf([rows, width]);
    const own = slice(B, 0, at * rows, (at + 1) * rows);
    const [before, behind] = [at * r, width - (at + 1) * r];
    at++;
    return concat([...(before ? [zerosOf([rows, before])] : []), own, ...(behind ? [zerosOf([rows, behind])] : [])], 1);
  });
  return concat(parts, 0);
}

/** The same with numbers. */
function placed({ slices, out }: Branch, B: FloatTensor): FloatTensor {
  if (!slices) return B;
  const [rows, r] = [out / slices.length, B.shape[1]!];
  const width = r * enabledCount(slices);
  const whole = new Float32Array(out * width);
  let at = 0;
  slices.forEach((enabled, i) => {
    if (!enabled) return;
    for (let row = 0; row < rows; row++) {
      const from = (at * rows + row) * r;
      whole.set(B.data.subarray(from, from + r), (i * rows + row) * width + at * r);
    }
    at++;
  });
  return floatTensor([out, width], whole);
}

/** The factors of the plain branch that does the same: [A; A₀] and [B, -B₀] where the branch starts from A₀ and B₀. */
export function plainFactors(branch: Branch, values: (key: string) => FloatTensor): Start {
  const [A, B] = [values(branch.A.key), placed(branch, values(branch.B.key))];
  const { start, out } = branch;
  if (!start) return { A, B };
  const r = A.shape[0]!;
  const rows = new Float32Array(2 * A.data.length);
  rows.set(A.data);
  rows.set(start.A.data, A.data.length);
  const columns = new Float32Array(2 * B.data.length);
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < r; k++) {
      columns[2 * o * r + k] = B.data[o * r + k]!;
      columns[(2 * o + 1) * r + k] = -start.B.data[o * r + k]!;
    }
  }
  return { A: floatTensor([2 * r, branch.in], rows), B: floatTensor([out, 2 * r], columns) };
}

/** Shape of the matrix as it is stored. */
export function matrixShape({ layout, in: width, out }: Pick<Branch, "layout" | "in" | "out">): [number, number] {
  return layout === "in,out" ? [width, out] : [out, width];
}

/** The factors whose product has the shape of the stored matrix: B·A, or Aᵀ·Bᵀ. */
function factors({ layout }: Branch, A: FloatTensor, B: FloatTensor): [FloatTensor, FloatTensor] {
  return layout === "in,out" ? [transposed(A), transposed(B)] : [B, A];
}

/** ‖W + s·B·A‖ of each output [out]. */
export function outputNorms(branch: Branch, matrix: Float32Array, A: FloatTensor, B: FloatTensor): Float64Array {
  const [left, right] = factors(branch, A, B);
  const squares = new Float64Array(branch.out);
  productRows(left, right, branch.scaling, (row, values) => {
    const from = row * values.length;
    for (let column = 0; column < values.length; column++) {
      const value = matrix[from + column]! + values[column]!;
      squares[branch.layout === "in,out" ? column : row]! += value * value;
    }
  });
  return squares.map(Math.sqrt);
}

/** The matrix with the branch in it: W + w·s·B·A; with DoRA W + w·(W' - W) for W' = m / ‖W + s·B·A‖ · (W + s·B·A). */
export function mergeBranch(branch: Branch, { tensor, frozen, values, weight }: MergeStep): Float32Array {
  const { A, B } = plainFactors(branch, values);
  const [left, right] = factors(branch, A, B);
  if (!branch.magnitude) return addProduct(tensor, left, right, weight * branch.scaling);
  const magnitudes = values(branch.magnitude.key).data;
  const norms = outputNorms(branch, frozen, A, B);
  const merged = new Float32Array(tensor.length);
  productRows(left, right, branch.scaling, (row, update) => {
    const from = row * update.length;
    for (let column = 0; column < update.length; column++) {
      const output = branch.layout === "in,out" ? column : row;
      const base = frozen[from + column]!;
      const decomposed = (magnitudes[output]! / norms[output]!) * (base + update[column]!);
      merged[from + column] = tensor[from + column]! + weight * (decomposed - base);
    }
  });
  return merged;
}
