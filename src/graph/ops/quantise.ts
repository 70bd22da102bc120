/**
 * Eight-bit products: activations as unsigned bytes with a scale a row, weights as signed bytes with a scale a column.
 * The left operand must be unsigned: CPUs multiply unsigned by signed bytes, and runtimes fall back where both are
 * signed.
 */

import { apply, constant, demand, type Op, scalar, type Value } from "../graph.ts";
import { max, neg, scale } from "./arithmetic.ts";
import { expand } from "./broadcast.ts";
import { reduceMax, reduceMin } from "./reduce.ts";

const QuantizeRows: Op<Record<never, never>> = {
  type: "QuantizeRows",
  infer: ([x, scales]) => {
    const fits = x!.shape.length === 2 && scales!.shape.join() === `${x!.shape[0]},1`;
    demand(fits, "QuantizeRows", `[${x!.shape}], scales [${scales!.shape}]`);
    return [{ dtype: "u8", shape: x!.shape }];
  },
};

const IntegerMatMul: Op<Record<never, never>> = {
  type: "IntegerMatMul",
  infer: ([a, b, , scales]) => {
    const fits = a!.shape[1] === b!.shape[0] && scales!.shape[0] === b!.shape[1];
    demand(
      fits && a!.dtype === "u8" && b!.dtype === "i8",
      "IntegerMatMul",
      `${a!.dtype} [${a!.shape}] · ${b!.dtype} [${b!.shape}]`,
    );
    return [{ dtype: "f32", shape: [a!.shape[0]!, b!.shape[1]!] }];
  },
};

/** Rows of x [N, K] as bytes: x ≈ (bytes − 128) · scales, scales [N, 1]. Not differentiable. */
export interface QuantizedRows {
  readonly bytes: Value;
  readonly scales: Value;
}

/** `largest` is each row's largest magnitude [N, 1], where it is known. */
export function quantizeRows(x: Value, largest: Value = largestMagnitude(x, -1)): QuantizedRows {
  // The smallest scale keeps rows of zeros from dividing by zero.
  const scales = max(scale(largest, 1 / 127), scalar(1e-30)); // [N, 1]
  const zeros = expand(constant({ dtype: "u8", shape: [1], data: Uint8Array.of(128) }), scales.shape);
  return { bytes: apply(QuantizeRows, [x, scales, zeros], {}), scales };
}

/** Largest magnitude along an axis. Two passes that only read cost less than one that writes magnitudes and one that reads them. */
export function largestMagnitude(x: Value, axis: number): Value {
  return max(reduceMax(x, [axis]), neg(reduceMin(x, [axis])));
}

/** (bytes − 128)·weights · columnScales as float32: bytes u8 [N, K], weights i8 [K, M], columnScales [M]. */
export function integerMatMul(bytes: Value, weights: Value, columnScales: Value): Value {
  const zero = constant({ dtype: "u8", shape: [], data: Uint8Array.of(128) });
  return apply(IntegerMatMul, [bytes, weights, scalar(1), columnScales, zero], {});
}
