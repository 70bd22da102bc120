/**
 * The tensors of one low-rank branch and what can be computed of them without a graph.
 * A module's matrix is stored "out,in" (PyTorch's Linear) or "in,out" (GPT-2's Conv1D, and every embedding table:
 * rows in, width out).
 */

import type { FloatTensor } from "../tensor/tensor.ts";
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
  const [A, B] = [values(branch.A.key), values(branch.B.key)];
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
