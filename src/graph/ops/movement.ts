/** Ops that move numbers without changing them. */

import type { DType } from "../../tensor/dtype.ts";
import { axisOf, sameShape } from "../../tensor/shape.ts";
import { apply, applyAll, demand, type Op, type Value } from "../graph.ts";
import { zerosOf } from "./broadcast.ts";

const Transpose: Op<{ readonly permutation: readonly number[] }> = {
  type: "Transpose",
  infer: ([x], { permutation }) => {
    demand(permutation.length === x!.shape.length, "Transpose", `[${x!.shape}] and permutation [${permutation}]`);
    return [{ dtype: x!.dtype, shape: permutation.map((axis) => x!.shape[axis]!) }];
  },
  gradient: ({ dy, attributes: { permutation } }) => [
    transpose(
      dy,
      permutation.map((_, axis) => permutation.indexOf(axis)),
    ),
  ],
};

interface Range {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

const Slice: Op<Range> = {
  type: "Slice",
  infer: ([x], { axis, start, end }) => {
    demand(
      start >= 0 && start < end && end <= x!.shape[axis]!,
      "Slice",
      `${start} to ${end} of axis ${axis} of [${x!.shape}]`,
    );
    return [{ dtype: x!.dtype, shape: x!.shape.with(axis, end - start) }];
  },
  gradient: ({ dy, x: [x], attributes: { axis, start, end } }) => {
    const zeros = (extent: number): Value[] => (extent === 0 ? [] : [zerosOf(x!.shape.with(axis, extent), x!.dtype)]);
    return [concat([...zeros(start), dy, ...zeros(x!.shape[axis]! - end)], axis)];
  },
};

const Concat: Op<{ readonly axis: number }> = {
  type: "Concat",
  infer: (inputs, { axis }) => {
    const first = inputs[0]!;
    for (const part of inputs) {
      const fits = part.dtype === first.dtype && sameShape(part.shape.with(axis, 0), first.shape.with(axis, 0));
      demand(fits, "Concat", `[${part.shape}] beside [${first.shape}] along axis ${axis}`);
    }
    const extent = inputs.reduce((sum, part) => sum + part.shape[axis]!, 0);
    return [{ dtype: first.dtype, shape: first.shape.with(axis, extent) }];
  },
  gradient: ({ dy, x, attributes: { axis } }) =>
    split(
      dy,
      x.map((part) => part.shape[axis]!),
      axis,
    ),
};

const Split: Op<{ readonly axis: number; readonly sizes: readonly number[] }> = {
  type: "Split",
  infer: ([x], { axis, sizes }) => {
    const sum = sizes.reduce((a, b) => a + b, 0);
    demand(
      sum === x!.shape[axis] && sizes.every(Number.isInteger),
      "Split",
      `[${x!.shape}] along axis ${axis} into ${sizes.join(" + ")}`,
    );
    return sizes.map((extent) => ({ dtype: x!.dtype, shape: x!.shape.with(axis, extent) }));
  },
  gradient: ({ dys, y, attributes: { axis } }) => [
    concat(
      dys.map((dy, i) => dy ?? zerosOf(y[i]!.shape, y[i]!.dtype)),
      axis,
    ),
  ],
};

const Cast: Op<{ readonly to: DType }> = {
  type: "Cast",
  infer: ([x], { to }) => [{ dtype: to, shape: x!.shape }],
  gradient: ({ dy, x: [x] }) => [x!.dtype.startsWith("f") || x!.dtype === "bf16" ? cast(dy, x!.dtype) : null],
};

/** Axis i of the result is axis `permutation[i]` of x. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  return apply(Transpose, [x], { permutation });
}

/** Elements `start` to `end` - 1 along `axis`. */
export function slice(x: Value, axis: number, start: number, end: number): Value {
  const at = axisOf(axis, x.shape.length);
  return start === 0 && end === x.shape[at] ? x : apply(Slice, [x], { axis: at, start, end });
}

export function concat(parts: readonly Value[], axis: number): Value {
  return parts.length === 1 ? parts[0]! : apply(Concat, parts, { axis: axisOf(axis, parts[0]!.shape.length) });
}

/** Parts of the given extents along `axis`; a number gives that many equal parts. */
export function split(x: Value, parts: number | readonly number[], axis: number): readonly Value[] {
  const at = axisOf(axis, x.shape.length);
  const sizes = typeof parts === "number" ? new Array<number>(parts).fill(x.shape[at]! / parts) : parts;
  return sizes.length === 1 ? [x] : applyAll(Split, [x], { axis: at, sizes });
}

export function cast(x: Value, to: DType): Value {
  return x.dtype === to ? x : apply(Cast, [x], { to });
}
