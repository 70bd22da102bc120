/** Where the time of a training step goes, by kinds of operators, and how near products come to the machine's peak. */

import type { Kernel } from "../runtime/profile.ts";
import { sizeOf } from "../tensor/shape.ts";

export const GROUPS = [
  "frozen linears",
  "head",
  "attention products",
  "low-rank products",
  "element-wise, norms, softmax",
  "quantising",
  "moving",
] as const;

export type Group = (typeof GROUPS)[number];

export interface GroupTime {
  readonly group: Group;
  readonly milliseconds: number;
  /** Share of all operators' time. */
  readonly share: number;
  /** Multiplications and additions of matrix products, in 10⁹ a second; null for groups without. */
  readonly gigaOps: number | null;
}

/** What tells products apart: extents that no other axis has. */
export interface ModelExtents {
  readonly vocabulary: number;
  readonly rank: number;
}

const PRODUCTS = new Set(["MatMul", "FusedMatMul", "Gemm", "MatMulIntegerToFloat", "MatMulNBits"]);
const QUANTISING = new Set(["QuantizeLinear", "DequantizeLinear", "ReduceMin", "ReduceMax"]);
const MOVING = new Set([
  "Transpose",
  "Concat",
  "Split",
  "Slice",
  "Gather",
  "GatherElements",
  "ScatterElements",
  "ScatterND",
  "Expand",
  "Identity",
  "Reshape",
  "Cast",
  "Shape",
]);

/** The group of an operator. Everything as wide as the vocabulary is the head's. */
export function groupOf({ type, inputs, outputs }: Kernel, { vocabulary, rank }: ModelExtents): Group {
  if ([...inputs, ...outputs].some((shape) => shape.at(-1) === vocabulary || (shape[0] ?? 0) === vocabulary)) {
    return "head";
  }
  if (PRODUCTS.has(type)) {
    if (inputs.some((shape) => shape.length === 3)) return "head"; // its exact rows
    if (inputs.some((shape) => shape.length > 3)) return "attention products";
    const low = [...inputs.slice(0, 2), ...outputs].some((shape) => shape.includes(rank));
    return low ? "low-rank products" : "frozen linears";
  }
  if (QUANTISING.has(type)) return "quantising";
  return MOVING.has(type) ? "moving" : "element-wise, norms, softmax";
}

/** The times of one run by group, longest first. */
export function groupTimes(kernels: readonly Kernel[], extents: ModelExtents): GroupTime[] {
  const total = sum(kernels);
  return GROUPS.map((group): GroupTime => {
    const own = kernels.filter((kernel) => groupOf(kernel, extents) === group);
    const products = own.filter(({ type }) => PRODUCTS.has(type));
    const operations = products.reduce((all, kernel) => all + productOperations(kernel), 0);
    return {
      group,
      milliseconds: sum(own),
      share: total > 0 ? sum(own) / total : 0,
      gigaOps: products.length > 0 ? operations / sum(products) / 1e6 : null,
    };
  }).toSorted((a, b) => b.milliseconds - a.milliseconds);
}

/** The run of middling time; the first, which warms up, is left out where there are others. */
export function typicalRun(runs: readonly (readonly Kernel[])[]): readonly Kernel[] {
  const later = (runs.length > 1 ? runs.slice(1) : runs).toSorted((a, b) => sum(a) - sum(b));
  return later[Math.floor((later.length - 1) / 2)] ?? [];
}

/** 2·m·k·n of a product of [.., m, k] and [.., k, n]: |A|·|B|·|Y| is (m·k·n)² a matrix, whatever is transposed. */
export function productOperations({ type, inputs: [a, b], outputs: [y] }: Kernel): number {
  if (!a || !b || !y) return 0;
  if (type === "MatMulIntegerToFloat") return 2 * sizeOf(y) * a.at(-1)!; // a packed matrix is not listed
  const batch = b.length > 2 ? sizeOf(y.slice(0, -2)) : 1;
  return 2 * batch * Math.sqrt((sizeOf(a) / batch) * (sizeOf(b) / batch) * (sizeOf(y) / batch));
}

function sum(kernels: readonly Kernel[]): number {
  return kernels.reduce((all, { milliseconds }) => all + milliseconds, 0);
}
