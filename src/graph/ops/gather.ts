/** Selection by index: embeddings, target rows, labels. Indices are int32 or int64 and get no gradient. */

import { apply, applyAll, demand, type Op, type Value } from "../graph.ts";
import { reshape, zerosOf } from "./broadcast.ts";

const Gather: Op<{ readonly axis: 0 }> = {
  type: "Gather",
  infer: ([table, indices]) => [{ dtype: table!.dtype, shape: [...indices!.shape, ...table!.shape.slice(1)] }],
  gradient: ({ dy, x: [table, indices] }) => [scatterRows(table!.shape, indices!, dy), null],
};

const ScatterRows: Op<{ readonly rows: number }> = {
  type: "ScatterRows",
  infer: ([base, indices, updates]) => {
    const fits = indices!.shape.length === 2 && indices!.shape[1] === 1 && updates!.shape[0] === indices!.shape[0];
    demand(fits, "ScatterRows", `indices [${indices!.shape}], updates [${updates!.shape}]`);
    return [{ dtype: base!.dtype, shape: base!.shape }];
  },
  gradient: ({ dy, x: [, indices] }) => [dy, null, gatherRows(dy, reshape(indices!, [indices!.shape[0]!]))],
};

const GatherElements: Op<{ readonly axis: -1 }> = {
  type: "GatherElements",
  infer: ([, indices]) => [{ dtype: "f32", shape: indices!.shape }],
  gradient: ({ dy, x: [x, indices] }) => [scatterElements(zerosOf(x!.shape), indices!, dy), null],
};

const ScatterElements: Op<{ readonly axis: -1 }> = {
  type: "ScatterElements",
  infer: ([base, indices, updates]) => {
    demand(
      indices!.shape.join() === updates!.shape.join(),
      "ScatterElements",
      `[${indices!.shape}], [${updates!.shape}]`,
    );
    return [{ dtype: base!.dtype, shape: base!.shape }];
  },
  gradient: ({ dy, x: [, indices] }) => [dy, null, gatherElements(dy, indices!)],
};

const TopK: Op<{ readonly k: number }> = {
  type: "TopK",
  infer: ([x], { k }) => {
    demand(x!.shape.length === 2 && k <= x!.shape[1]!, "TopK", `${k} of [${x!.shape}]`);
    const shape = [x!.shape[0]!, k];
    return [
      { dtype: x!.dtype, shape },
      { dtype: "i64", shape },
    ];
  },
  gradient: ({ dy, y: [, indices], x: [x] }) => [scatterElements(zerosOf(x!.shape), indices!, dy)],
};

/** Rows of `table` [R, …] by `indices` [...]: [..., …]. */
export function gatherRows(table: Value, indices: Value): Value {
  return apply(Gather, [table, indices], { axis: 0 });
}

/** Zeros of `shape` [R, …] with `updates` [..., …] added to the rows that `indices` [...] name; repeats add up. */
export function scatterRows(shape: readonly number[], indices: Value, updates: Value): Value {
  const count = indices.shape.reduce((a, b) => a * b, 1);
  return addRows(zerosOf(shape), reshape(indices, [count, 1]), reshape(updates, [count, ...shape.slice(1)]));
}

/** base [R, …] with `updates` [n, …] added to the rows that `indices` [n, 1] name. */
export function addRows(base: Value, indices: Value, updates: Value): Value {
  return apply(ScatterRows, [base, indices, updates], { rows: base.shape[0]! });
}

/** x [n, V] at the columns `indices` [n, k]: [n, k]. */
export function gatherElements(x: Value, indices: Value): Value {
  return apply(GatherElements, [x, indices], { axis: -1 });
}

/** base [n, V] with `updates` [n, k] added at the columns `indices` [n, k]. */
export function scatterElements(base: Value, indices: Value, updates: Value): Value {
  return apply(ScatterElements, [base, indices, updates], { axis: -1 });
}

/** The k largest of each row of x [n, V], in no particular order, and their columns (int64): [n, k] each. */
export function topK(x: Value, k: number): { readonly values: Value; readonly indices: Value } {
  const [values, indices] = applyAll(TopK, [x], { k }) as [Value, Value];
  return { values, indices };
}
