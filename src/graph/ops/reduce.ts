/** Reductions besides the sum; reduced axes stay with extent 1. */

import { sizeOf } from "../../tensor/shape.ts";
import { type Op, scalar, type Value } from "../graph.ts";
import { equal, mul, scale, where } from "./arithmetic.ts";
import { type Axes, expand, keptAxes, reduction } from "./broadcast.ts";

const ReduceMean: Op<Axes> = {
  type: "ReduceMean",
  infer: keptAxes,
  gradient: ({ dy, x: [x], y: [y] }) => [expand(scale(dy, sizeOf(y!.shape) / sizeOf(x!.shape)), x!.shape)],
};

const ReduceMax: Op<Axes> = {
  type: "ReduceMax",
  infer: keptAxes,
  gradient: ({ dy, x: [x], y: [y] }) => [mul(dy, where(equal(x!, y!), scalar(1), scalar(0)))],
};

const ReduceMin: Op<Axes> = { type: "ReduceMin", infer: keptAxes };

export const reduceMean: (x: Value, axes: readonly number[]) => Value = reduction(ReduceMean);
/** Largest element. Every element that ties for it gets the whole gradient. */
export const reduceMax: (x: Value, axes: readonly number[]) => Value = reduction(ReduceMax);
/** Smallest element; not differentiable. */
export const reduceMin: (x: Value, axes: readonly number[]) => Value = reduction(ReduceMin);
