/** Matrix products. A transposed operand is an attribute, never a transposed copy. */

import { broadcastShape, sameShape } from "../../tensor/shape.ts";
import { apply, demand, type Op, type Value } from "../graph.ts";

export interface MatMulAttributes {
  readonly transA: boolean;
  readonly transB: boolean;
  /** The product is multiplied by this number inside the kernel. */
  readonly alpha: number;
}

const MatMul: Op<MatMulAttributes> = {
  type: "MatMul",
  infer: ([a, b], { transA, transB }) => {
    const [m, k] = matrix(a!.shape, transA);
    const [inner, n] = matrix(b!.shape, transB);
    const batch = broadcastShape(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
    demand(
      k === inner && batch !== null && Math.min(a!.shape.length, b!.shape.length) >= 2,
      "MatMul",
      `[${a!.shape}]${transA ? "ᵀ" : ""} · [${b!.shape}]${transB ? "ᵀ" : ""}`,
    );
    demand(a!.dtype === b!.dtype, "MatMul", `element types differ: ${a!.dtype} and ${b!.dtype}`);
    return [{ dtype: a!.dtype, shape: [...batch, m, n] }];
  },
  // y = α op(a) op(b): the gradient of op(a) is α dy op(b)ᵀ, transposed back when op transposes; likewise for b.
  gradient: ({ dy, x: [a, b], attributes: { transA, transB, alpha } }) => [
    transA ? matMul(b!, dy, { transA: transB, transB: true, alpha }) : matMul(dy, b!, { transB: !transB, alpha }),
    transB ? matMul(dy, a!, { transA: true, transB: transA, alpha }) : matMul(a!, dy, { transA: !transA, alpha }),
  ],
};

const Gemm: Op<MatMulAttributes> = {
  type: "Gemm",
  infer: ([a, b, c], attributes) => {
    const [product] = MatMul.infer([a!, b!], attributes);
    const shape = broadcastShape(product!.shape, c!.shape);
    const fits = product!.shape.length === 2 && shape !== null && sameShape(shape, product!.shape);
    demand(fits, "Gemm", `c [${c!.shape}] beside [${product!.shape}]`);
    return [product!];
  },
  gradient: (at) => [...MatMul.gradient!(at), at.dy],
};

/** α a·b; leading axes broadcast. transA and transB transpose the last two axes of an operand. */
export function matMul(
  a: Value,
  b: Value,
  { transA = false, transB = false, alpha = 1 }: Partial<MatMulAttributes> = {},
): Value {
  return apply(MatMul, [a, b], { transA, transB, alpha });
}

/** α a·b + c for matrices; c is broadcast to the product's shape. */
export function gemm(
  a: Value,
  b: Value,
  c: Value,
  { transA = false, transB = false, alpha = 1 }: Partial<MatMulAttributes> = {},
): Value {
  return apply(Gemm, [a, b, c], { transA, transB, alpha });
}

/** Rows and columns of the last two axes, after the transposition. */
function matrix(shape: readonly number[], transposed: boolean): [rows: number, columns: number] {
  const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  return transposed ? [columns, rows] : [rows, columns];
}
