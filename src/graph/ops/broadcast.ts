/** Reshaping and broadcasting, and the sum that is broadcasting's gradient. Reduced axes stay with extent 1. */

import type { DType } from "../../tensor/dtype.ts";
import { axisOf, broadcastShape, sameShape, sizeOf } from "../../tensor/shape.ts";
import { apply, constant, demand, type Op, type TensorType, type Value } from "../graph.ts";

export interface Axes {
  readonly axes: readonly number[];
}

/** Shape rule of a reduction. */
export function keptAxes([x]: readonly TensorType[], { axes }: Axes): readonly TensorType[] {
  return [{ dtype: x!.dtype, shape: x!.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent)) }];
}

/** Builder of a reduction: negative axes count from the end. */
export function reduction(op: Op<Axes>): (x: Value, axes: readonly number[]) => Value {
  return (x, axes) => {
    if (axes.length === 0) return x; // to ONNX, no axes means all of them
    return apply(op, [x], { axes: axes.map((axis) => axisOf(axis, x.shape.length)).toSorted((a, b) => a - b) });
  };
}

const Reshape: Op<{ readonly shape: readonly number[] }> = {
  type: "Reshape",
  infer: ([x], { shape }) => {
    demand(sizeOf(x!.shape) === sizeOf(shape), "Reshape", `[${x!.shape}] has not as many elements as [${shape}]`);
    return [{ dtype: x!.dtype, shape }];
  },
  gradient: ({ dy, x: [x] }) => [reshape(dy, x!.shape)],
};

const Expand: Op<{ readonly shape: readonly number[] }> = {
  type: "Expand",
  infer: ([x], { shape }) => {
    const common = broadcastShape(x!.shape, shape);
    demand(common !== null && sameShape(common, shape), "Expand", `[${x!.shape}] does not broadcast to [${shape}]`);
    return [{ dtype: x!.dtype, shape }];
  },
  gradient: ({ dy, x: [x] }) => [sumTo(dy, x!.shape)],
};

const ReduceSum: Op<Axes> = {
  type: "ReduceSum",
  infer: keptAxes,
  gradient: ({ dy, x: [x] }) => [expand(dy, x!.shape)],
};

export function reshape(x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x;
  const from = x.node.op === Reshape ? x.node.inputs[0]! : x; // of two in a row the first says nothing
  return sameShape(from.shape, shape) ? from : apply(Reshape, [from], { shape });
}

/** x broadcast to `shape`. */
export function expand(x: Value, shape: readonly number[]): Value {
  return sameShape(x.shape, shape) ? x : apply(Expand, [x], { shape });
}

export const reduceSum: (x: Value, axes: readonly number[]) => Value = reduction(ReduceSum);

/** Sum of every element, as a scalar []. */
export function sumAll(x: Value): Value {
  return reshape(
    reduceSum(
      x,
      x.shape.map((_, axis) => axis),
    ),
    [],
  );
}

/** Sums the axes along which `shape` was broadcast to x's shape, so that the result has `shape`. */
export function sumTo(x: Value, shape: readonly number[]): Value {
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((extent, axis) =>
    axis < lead || (extent !== 1 && shape[axis - lead] === 1) ? [axis] : [],
  );
  return reshape(axes.length === 0 ? x : reduceSum(x, axes), shape);
}

/** Zeros of a shape. The graph holds one number; the runtime expands it. */
export function zerosOf(shape: readonly number[], dtype: DType = "f32"): Value {
  demand(dtype === "f32", "zerosOf", `no zeros of ${dtype}`);
  return expand(constant({ dtype, shape: [], data: Float32Array.of(0) }), shape);
}
