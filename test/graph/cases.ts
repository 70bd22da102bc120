/**
 * Cases of every op: one line each, in the order of src/graph/ops. A case gets the ops from the harness, which can
 * so tell which of them it used; its inputs are drawn from a stream that its name fixes.
 */

import { constant, input, type Value } from "../../src/graph/graph.ts";
import * as ops from "../../src/graph/ops/index.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { hashText, type Random, randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";

export type Ops = typeof ops;
type Shape = readonly number[];

export interface Case {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Spec>>;
  readonly build: (ops: Ops, x: Readonly<Record<string, Value>>) => Value | readonly Value[];
  /** Inputs that gradients are checked for; every other input must get none. Empty: the case is not differentiable. */
  readonly wrt: readonly string[];
}

/** Type, shape and distribution of an input. */
export interface Spec {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly draw: (random: Random, index: number) => number;
}

export interface Built {
  readonly inputs: ReadonlyMap<string, Value>;
  readonly data: ReadonlyMap<string, Float64Array>;
  readonly outputs: readonly Value[];
}

/** The graph of a case and the data of its inputs. */
export function build(each: Case, withOps: Ops = ops): Built {
  const inputs = new Map<string, Value>();
  const data = new Map<string, Float64Array>();
  for (const [name, { dtype, shape, draw }] of Object.entries(each.inputs)) {
    const random = randomStream(1, hashText(each.name), hashText(name));
    inputs.set(name, input(name, dtype, shape));
    data.set(
      name,
      Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.fround(draw(random, i))),
    );
  }
  const built = each.build(withOps, Object.fromEntries(inputs));
  return { inputs, data, outputs: Array.isArray(built) ? built : [built as Value] };
}

export interface Loss {
  readonly loss: Value;
  /** The case's inputs and the weights, and their data. */
  readonly inputs: ReadonlyMap<string, Value>;
  readonly data: ReadonlyMap<string, Float64Array>;
}

/** Σ weights · output over all outputs, with random weights, so that no gradient is symmetric by accident. */
export function weightedLoss(built: Built): Loss {
  const inputs = new Map(built.inputs);
  const data = new Map(built.data);
  const terms = built.outputs.map((output, i) => {
    const name = `weights ${i}`;
    const random = randomStream(2, i);
    const weights = input(name, "f32", output.shape);
    inputs.set(name, weights);
    data.set(
      name,
      Float64Array.from({ length: sizeOf(output.shape) }, () => Math.fround(random.normal())),
    );
    return ops.sumAll(ops.mul(output, weights));
  });
  return { loss: terms.reduce(ops.add), inputs, data };
}

const spec = (dtype: DType, shape: Shape, draw: Spec["draw"]): Spec => ({ dtype, shape, draw });

const normal = (...shape: Shape): Spec => spec("f32", shape, (random) => random.normal());
/** ± 12: where activations saturate. */
const wide = (...shape: Shape): Spec => spec("f32", shape, (random) => 24 * random.uniform() - 12);
/** 0.5 to 2.5: denominators, logarithms and roots. */
const positive = (...shape: Shape): Spec => spec("f32", shape, (random) => 0.5 + 2 * random.uniform());
/** 0, 1 or 2: ties are common. */
const digits = (...shape: Shape): Spec => spec("f32", shape, (random) => random.integer(3));
const bool = (...shape: Shape): Spec => spec("bool", shape, (random) => random.integer(2));
/** Integers below `limit`; most repeat. */
const ids = (limit: number, dtype: "i32" | "i64", ...shape: Shape): Spec =>
  spec(dtype, shape, (random) => random.integer(limit));
const given = (dtype: DType, shape: Shape, values: readonly number[]): Spec => spec(dtype, shape, (_, i) => values[i]!);
const as = (dtype: DType, { shape, draw }: Spec): Spec => ({ dtype, shape, draw });

/** Frozen numbers below a type's limit, as the bytes that hold them. */
function codes(dtype: "u4" | "u8" | "u16", shape: Shape, bytes: number): Value {
  const random = randomStream(3, bytes);
  const data = Uint8Array.from({ length: bytes }, () => random.integer(256));
  return constant({
    dtype,
    shape,
    data: dtype === "u16" ? new Uint16Array(data.slice().buffer).slice(0, sizeOf(shape)) : data,
  });
}

/** A case whose float32 and float64 inputs all get gradients, unless `wrt` says which do. */
function row<K extends string>(
  name: string,
  inputs: Readonly<Record<K, Spec>>,
  buildCase: (ops: Ops, x: Readonly<Record<K, Value>>) => Value | readonly Value[],
  wrt?: readonly NoInfer<K>[],
): Case {
  const floats = (Object.keys(inputs) as K[]).filter((key) => /^f(32|64)$/.test(inputs[key].dtype));
  return { name, inputs, build: buildCase as Case["build"], wrt: wrt ?? floats };
}

/** Every way in which two shapes broadcast, per axis and rank. */
const PAIRS: readonly (readonly [Shape, Shape])[] = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [[3], [2, 3]],
  [
    [2, 3],
    [1, 3],
  ],
  [
    [2, 3],
    [2, 1],
  ],
  [
    [2, 1],
    [1, 3],
  ],
  [[2, 3], [1]],
  [[2, 3], []],
  [[], [2, 3]],
  [[], []],
  [[1], [1, 1]],
  [
    [2, 1, 4],
    [3, 1],
  ],
  [
    [1, 3, 1],
    [2, 1, 4],
  ],
  [[4], [2, 3, 1]],
  [
    [2, 3, 2, 2],
    [3, 1, 2],
  ],
];

const AXES: readonly (readonly number[])[] = [
  [0],
  [1],
  [2],
  [-1],
  [-2],
  [0, 1],
  [1, 2],
  [2, 0],
  [0, 1, 2],
  [-1, 0],
  [],
];

const unary = (names: readonly (keyof Ops)[], ...kinds: readonly ((...shape: Shape) => Spec)[]): Case[] =>
  names.flatMap((name) =>
    kinds.flatMap((kind, i) =>
      ([[2, 3], [5], []] as const).map((shape) =>
        row(`${name}: kind ${i} of [${shape}]`, { x: kind(...shape) }, (o, { x }) =>
          (o[name] as (x: Value) => Value)(x),
        ),
      ),
    ),
  );

const binary = (names: readonly (keyof Ops)[], kind: (...shape: Shape) => Spec, wrt?: readonly []): Case[] =>
  names.flatMap((name) =>
    PAIRS.map(([a, b]) =>
      row(
        `${name}: [${a}] with [${b}]`,
        { a: kind(...a), b: kind(...b) },
        (o, x) => (o[name] as (a: Value, b: Value) => Value)(x.a, x.b),
        wrt,
      ),
    ),
  );

const matMuls = [
  ["[3, 4] · [4, 2]", [3, 4], [4, 2]],
  ["batched", [2, 3, 4], [2, 4, 5]],
  ["four axes", [2, 2, 3, 4], [2, 2, 4, 2]],
  ["a is shared", [3, 4], [2, 4, 5]],
  ["b is shared", [2, 3, 4], [4, 5]],
  ["batch of 1 with 2", [1, 3, 4], [2, 4, 5]],
  ["batches [2, 1] with [3]", [2, 1, 3, 2], [3, 2, 4]],
  ["one column", [2, 3, 4], [4, 1]],
  ["one row and inner extent", [1, 1], [1, 3]],
] as const;

const swapped = (shape: Shape, on: boolean): Shape =>
  on ? [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!] : shape;

const ALPHAS = [
  { transA: false, transB: false, alpha: 1 },
  { transA: true, transB: false, alpha: 1 },
  { transA: false, transB: true, alpha: 0.125 },
  { transA: true, transB: true, alpha: -1.5 },
  { transA: false, transB: false, alpha: 0.3 },
] as const;

export const cases: readonly Case[] = [
  // activation.ts
  ...unary(["tanh", "sigmoid", "relu", "erf", "gelu", "geluTanh", "silu", "quickGelu"], normal, wide),
  row("softmax: [2, 3, 5]", { x: normal(2, 3, 5) }, (o, { x }) => o.softmax(x)),
  row("softmax: [4]", { x: normal(4) }, (o, { x }) => o.softmax(x)),
  row("softmax: one column", { x: normal(3, 1) }, (o, { x }) => o.softmax(x)),
  row("softmax: saturated, masked", { x: wide(3, 6), mask: bool(3, 6) }, (o, { x, mask }) =>
    o.softmax(o.where(mask, x, o.shift(o.zerosOf([3, 6]), -1e9))),
  ),
  row("softCap: within and beyond the cap", { x: wide(3, 5) }, (o, { x }) => o.softCap(x, 5)),
  row("softCap: a cap that float32 rounds", { x: normal(3, 5) }, (o, { x }) => o.softCap(x, 0.7)),

  // arithmetic.ts
  ...binary(["add", "sub", "mul", "max"], normal),
  ...binary(["div"], positive),
  ...unary(["neg", "abs"], normal),
  ...unary(["exp"], normal),
  ...unary(["log", "sqrt", "reciprocal"], positive),
  ...binary(["greater", "greaterOrEqual", "less", "equal"], digits, []),
  ...binary(["and", "or"], bool, []),
  row("add: integers", { a: ids(9, "i64", 2, 3), b: ids(9, "i64", 3) }, (o, { a, b }) => o.mul(o.add(a, b), b), []),
  row("equal: integers", { a: ids(3, "i32", 4, 1), b: ids(3, "i32", 3) }, (o, { a, b }) => o.equal(a, b), []),
  row("where: one shape", { c: bool(2, 3), a: normal(2, 3), b: normal(2, 3) }, (o, { c, a, b }) => o.where(c, a, b)),
  row("where: a and b broadcast", { c: bool(2, 3), a: normal(3), b: normal(2, 1) }, (o, { c, a, b }) =>
    o.where(c, a, b),
  ),
  row("where: the condition broadcasts", { c: bool(3, 1), a: normal(2, 3, 4), b: normal(4) }, (o, { c, a, b }) =>
    o.where(c, a, b),
  ),
  row("where: scalars", { c: bool(5), a: normal(), b: normal() }, (o, { c, a, b }) => o.where(c, a, b)),
  row("where: a scalar condition", { c: bool(), a: normal(2), b: normal(3, 1) }, (o, { c, a, b }) => o.where(c, a, b)),
  row("where: a causal mask by comparison", { x: normal(4, 4), r: ids(4, "i32", 4, 1), c: ids(4, "i32", 4) }, (o, p) =>
    o.where(o.or(o.greaterOrEqual(p.r, p.c), o.and(o.less(p.r, p.c), o.equal(p.r, p.c))), p.x, o.zerosOf([])),
  ),
  row("scale: by -2.5", { x: normal(2, 3) }, (o, { x }) => o.scale(x, -2.5)),
  row("scale: by 1 is x itself", { x: normal(2, 3) }, (o, { x }) => o.scale(x, 1)),
  row("shift: by 3", { x: normal(2, 3) }, (o, { x }) => o.mul(o.shift(x, 3), o.shift(x, 0))),

  // broadcast.ts
  row("reshape: to fewer axes", { x: normal(2, 3, 4) }, (o, { x }) => o.reshape(x, [6, 4])),
  row("reshape: to more axes", { x: normal(6) }, (o, { x }) => o.reshape(x, [1, 2, 1, 3])),
  row("reshape: to a scalar and back", { x: normal(1, 1) }, (o, { x }) => o.reshape(o.reshape(x, []), [1])),
  row("reshape: to its own shape", { x: normal(2, 3) }, (o, { x }) => o.reshape(x, [2, 3])),
  row("expand: a leading axis", { x: normal(3) }, (o, { x }) => o.expand(x, [2, 3])),
  row("expand: an inner axis", { x: normal(2, 1, 3) }, (o, { x }) => o.expand(x, [2, 4, 3])),
  row("expand: all axes", { x: normal() }, (o, { x }) => o.expand(x, [2, 3])),
  row("expand: outer and inner axes", { x: normal(1, 2, 1) }, (o, { x }) => o.expand(x, [2, 3, 2, 2])),
  ...AXES.flatMap((axes) =>
    (["reduceSum", "reduceMean", "reduceMax"] as const).map((name) =>
      row(`${name}: axes [${axes}]`, { x: normal(2, 3, 4) }, (o, { x }) => o[name](x, axes)),
    ),
  ),
  ...AXES.map((axes) =>
    row(`reduceMin: axes [${axes}]`, { x: normal(2, 3, 4) }, (o, { x }) => o.reduceMin(x, axes), []),
  ),
  row("sumAll: [2, 3]", { x: normal(2, 3) }, (o, { x }) => o.sumAll(x)),
  row("sumAll: []", { x: normal() }, (o, { x }) => o.sumAll(x)),
  row("sumTo: leading axes", { x: normal(2, 3, 4) }, (o, { x }) => o.sumTo(x, [4])),
  row("sumTo: inner axes", { x: normal(2, 3, 4) }, (o, { x }) => o.sumTo(x, [2, 1, 4])),
  row("sumTo: a scalar", { x: normal(2, 3) }, (o, { x }) => o.sumTo(x, [])),
  row("sumTo: a scalar of shape [1, 1]", { x: normal(2, 3) }, (o, { x }) => o.sumTo(x, [1, 1])),
  row("zerosOf: [2, 3]", { x: normal(3) }, (o, { x }) => o.add(o.zerosOf([2, 3]), x)),

  // gather.ts
  row("gatherRows: [6, 3] by [2, 5]", { table: normal(6, 3), at: ids(6, "i64", 2, 5) }, (o, x) =>
    o.gatherRows(x.table, x.at),
  ),
  row("gatherRows: one row again and again", { table: normal(3, 2), at: given("i32", [4], [1, 1, 1, 1]) }, (o, x) =>
    o.gatherRows(x.table, x.at),
  ),
  row("gatherRows: by a scalar", { table: normal(3, 2, 2), at: given("i64", [], [2]) }, (o, x) =>
    o.gatherRows(x.table, x.at),
  ),
  row("gatherRows: of a vector", { table: normal(5), at: ids(5, "i32", 3, 2) }, (o, x) => o.gatherRows(x.table, x.at)),
  row("scatterRows: repeats add up", { at: ids(4, "i32", 2, 5), updates: normal(2, 5, 3) }, (o, x) =>
    o.scatterRows([4, 3], x.at, x.updates),
  ),
  row("scatterRows: rows of matrices", { at: ids(3, "i64", 4), updates: normal(4, 2, 2) }, (o, x) =>
    o.scatterRows([3, 2, 2], x.at, x.updates),
  ),
  row("addRows: repeats add up", { base: normal(4, 3), at: ids(4, "i64", 7, 1), updates: normal(7, 3) }, (o, x) =>
    o.addRows(x.base, x.at, x.updates),
  ),
  row("gatherElements: [4, 6] by [4, 1]", { x: normal(4, 6), at: ids(6, "i64", 4, 1) }, (o, { x, at }) =>
    o.gatherElements(x, at),
  ),
  row("gatherElements: repeats", { x: normal(3, 4), at: ids(4, "i32", 3, 9) }, (o, { x, at }) =>
    o.gatherElements(x, at),
  ),
  row(
    "scatterElements: repeats add up",
    { base: normal(3, 4), at: ids(4, "i64", 3, 7), updates: normal(3, 7) },
    (o, x) => o.scatterElements(x.base, x.at, x.updates),
  ),
  row("topK: 3 of 7, whatever their order", { x: normal(4, 7) }, (o, { x }) => {
    const { values, indices } = o.topK(x, 3);
    return [o.reduceSum(values, [-1]), o.scatterElements(o.zerosOf([4, 7]), indices, values)];
  }),

  // matmul.ts
  ...matMuls.flatMap(([name, a, b]) =>
    ALPHAS.map((options) =>
      row(
        `matMul: ${name}, transA ${options.transA}, transB ${options.transB}, alpha ${options.alpha}`,
        { a: normal(...swapped(a, options.transA)), b: normal(...swapped(b, options.transB)) },
        (o, x) => o.matMul(x.a, x.b, options),
      ),
    ),
  ),
  row("matMul: x·xᵀ, both operands one value", { x: normal(2, 3, 4) }, (o, { x }) => o.matMul(x, x, { transB: true })),
  ...[[2], [3, 2], [3, 1], [1, 2], [1], []].flatMap((c) =>
    ALPHAS.map((options) =>
      row(
        `gemm: c [${c}], transA ${options.transA}, transB ${options.transB}, alpha ${options.alpha}`,
        {
          a: normal(...swapped([3, 4], options.transA)),
          b: normal(...swapped([4, 2], options.transB)),
          c: normal(...c),
        },
        (o, x) => o.gemm(x.a, x.b, x.c, options),
      ),
    ),
  ),

  // conv.ts
  ...(
    [
      ["3 × 3", [2, 3, 5, 4], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }],
      ["3 × 3 without padding", [1, 2, 4, 5], [3, 2, 3, 3], {}],
      ["stride 2, odd size", [2, 2, 5, 7], [3, 2, 3, 3], { stride: 2, pads: [1, 1, 1, 1] }],
      ["stride 2, even size", [1, 2, 4, 6], [3, 2, 3, 3], { stride: 2, pads: [1, 1, 1, 1] }],
      ["stride 2, padded at the far edges", [2, 2, 6, 4], [3, 2, 3, 3], { stride: 2, pads: [0, 0, 1, 1] }],
      ["stride 3 that leaves pixels over", [1, 2, 9, 8], [2, 2, 3, 2], { stride: 3, pads: [0, 1, 0, 0] }],
      ["dilated", [1, 2, 6, 7], [2, 2, 3, 3], { dilation: 2, pads: [2, 1, 2, 1] }],
      ["a kernel of 2 × 1", [2, 2, 3, 3], [2, 2, 2, 1], {}],
      ["1 × 1", [2, 3, 2, 3], [4, 3, 1, 1], {}],
      ["1 × 1, stride 2", [1, 3, 4, 5], [2, 3, 1, 1], { stride: 2 }],
    ] as const
  ).flatMap(([name, x, w, options]) => [
    row(`conv2d: ${name}`, { x: normal(...x), w: normal(...w), bias: normal(w[0]) }, (o, v) =>
      o.conv2d(v.x, v.w, v.bias, options),
    ),
    row(`conv2d: ${name}, no bias`, { x: normal(...x), w: normal(...w) }, (o, v) => o.conv2d(v.x, v.w, null, options)),
  ]),

  // attention.ts
  row("attend: two heads", { q: normal(2, 3, 4), k: normal(2, 5, 4), v: normal(2, 5, 4) }, (o, { q, k, v }) =>
    o.attend(q, k, v, { heads: 2, scale: 0.7 }),
  ),
  row("attend: values of another width", { q: normal(1, 4, 6), k: normal(1, 2, 6), v: normal(1, 2, 9) }, (o, x) =>
    o.attend(x.q, x.k, x.v, { heads: 3, scale: 1 }),
  ),
  row("attend: one value thrice, one head", { x: normal(2, 4, 3) }, (o, { x }) =>
    o.attend(x, x, x, { heads: 1, scale: 0.5 }),
  ),

  // resize.ts
  row("resizeNearest: × 2", { x: normal(2, 3, 2, 3) }, (o, { x }) => o.resizeNearest(x, [4, 6])),
  row("resizeNearest: to odd sizes", { x: normal(1, 2, 3, 2) }, (o, { x }) => o.resizeNearest(x, [5, 3])),
  row("resizeNearest: smaller", { x: normal(1, 1, 5, 4) }, (o, { x }) => o.resizeNearest(x, [3, 2])),
  row("resizeNearest: × 3 along one axis", { x: normal(1, 2, 2, 2) }, (o, { x }) => o.resizeNearest(x, [6, 2])),
  row("resizeNearest: its own size", { x: normal(1, 1, 2, 3) }, (o, { x }) => o.neg(o.resizeNearest(x, [2, 3]))),
  row("averagePool: 2 × 2", { x: normal(2, 2, 4, 6) }, (o, { x }) => o.averagePool(x, 2), []),

  // movement.ts
  ...[
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ].map((order) => row(`transpose: [${order}]`, { x: normal(2, 3, 4) }, (o, { x }) => o.transpose(x, order))),
  row("transpose: heads out", { x: normal(2, 3, 4, 2) }, (o, { x }) => o.transpose(x, [0, 2, 1, 3])),
  row("slice: the beginning", { x: normal(4, 3) }, (o, { x }) => o.slice(x, 0, 0, 2)),
  row("slice: the end of the last axis", { x: normal(2, 5) }, (o, { x }) => o.slice(x, -1, 3, 5)),
  row("slice: the middle", { x: normal(2, 5, 3) }, (o, { x }) => o.slice(x, 1, 1, 3)),
  row("slice: everything", { x: normal(2, 5) }, (o, { x }) => o.slice(x, 1, 0, 5)),
  row("slice: integers", { x: ids(9, "i64", 2, 5) }, (o, { x }) => o.slice(x, 1, 2, 4), []),
  row("concat: the first axis", { a: normal(1, 3), b: normal(2, 3) }, (o, { a, b }) => o.concat([a, b], 0)),
  row("concat: the last of three axes", { a: normal(2, 2, 3), b: normal(2, 2, 1), c: normal(2, 2, 2) }, (o, x) =>
    o.concat([x.a, x.b, x.c], -1),
  ),
  row("concat: a value beside itself", { a: normal(2, 3) }, (o, { a }) => o.concat([a, o.neg(a), a], 1)),
  row("concat: one part", { a: normal(2, 3) }, (o, { a }) => o.concat([a], 1)),
  row("split: three equal parts", { x: normal(2, 6) }, (o, { x }) => o.split(x, 3, -1)),
  row("split: unequal parts of an inner axis", { x: normal(2, 6, 2) }, (o, { x }) => o.split(x, [1, 3, 2], 1)),
  row("split: only the first is used", { x: normal(2, 6) }, (o, { x }) => o.split(x, 3, 1)[0]!),
  row("split: only the last is used", { x: normal(6, 2) }, (o, { x }) => o.split(x, [1, 2, 3], 0)[2]!),
  row("split: one is used twice", { x: normal(2, 6) }, (o, { x }) => {
    const [a, , c] = o.split(x, 3, 1);
    return o.add(o.mul(a!, a!), c!);
  }),
  row("split: one part", { x: normal(2, 6) }, (o, { x }) => o.split(x, 1, 1)),
  row("cast: f32 to f32", { x: normal(2, 3) }, (o, { x }) => o.cast(x, "f32")),
  row("cast: f64 to f32", { x: as("f64", normal(2, 3)) }, (o, { x }) => o.cast(x, "f32")),
  row("cast: f32 to f64 and back", { x: normal(2, 3) }, (o, { x }) => o.cast(o.cast(x, "f64"), "f32")),
  row("cast: integers to f32", { x: normal(2, 3), i: ids(9, "i32", 2, 3) }, (o, { x, i }) =>
    o.mul(x, o.cast(i, "f32")),
  ),
  row("cast: booleans to f32", { x: normal(2, 3), c: bool(3) }, (o, { x, c }) => o.mul(x, o.cast(c, "f32"))),
  row("cast: f32 to integers and booleans", { x: wide(2, 3) }, (o, { x }) => [o.cast(x, "i32"), o.cast(x, "bool")], []),
  row("cast: through f16", { x: wide(40) }, (o, { x }) => o.cast(o.cast(x, "f16"), "f32"), []),
  row("cast: through bf16", { x: wide(40) }, (o, { x }) => o.cast(o.cast(x, "bf16"), "f32"), []),

  // norm.ts
  ...[[4, 6], [2, 3, 6], [6], [2, 1]].flatMap((shape) => [
    row(
      `layerNorm: [${shape}]`,
      { x: normal(...shape), gain: normal(shape.at(-1)!), bias: normal(shape.at(-1)!) },
      (o, { x, gain, bias }) => o.layerNorm(x, gain, bias, 1e-2),
    ),
    row(`rmsNorm: [${shape}]`, { x: normal(...shape), gain: normal(shape.at(-1)!) }, (o, { x, gain }) =>
      o.rmsNorm(x, gain, 1e-2),
    ),
  ]),
  row("layerNorm: ε 1e-5", { x: wide(3, 8), gain: normal(8), bias: normal(8) }, (o, { x, gain, bias }) =>
    o.layerNorm(x, gain, bias, 1e-5),
  ),
  row("rmsNorm: ε 1e-6", { x: wide(3, 8), gain: normal(8) }, (o, { x, gain }) => o.rmsNorm(x, gain, 1e-6)),
  ...(
    [
      [[2, 4, 3, 3], 2],
      [[1, 6, 2, 1], 6],
      [[3, 3, 2, 2], 1],
    ] as const
  ).map(([shape, groups]) =>
    row(
      `groupNorm: [${shape}] in ${groups} groups`,
      { x: normal(...shape), gain: normal(shape[1]), bias: normal(shape[1]) },
      (o, { x, gain, bias }) => o.groupNorm(x, gain, bias, groups, 1e-2),
    ),
  ),
  row("norm2: [3, 4]", { x: normal(3, 4) }, (o, { x }) => o.norm2(x)),

  // reduce.ts: see AXES above
  row("reduceMax: ties share no gradient with smaller ones", { x: normal(3, 5), b: normal(3, 1) }, (o, { x, b }) =>
    o.reduceMax(o.add(x, b), [1]),
  ),

  // quantise.ts
  ...[0, -1].map((axis) =>
    row(`largestMagnitude: axis ${axis}`, { x: normal(4, 6) }, (o, { x }) => o.largestMagnitude(x, axis), []),
  ),
  row(
    "quantizeRows: rows of unlike size, one of zeros",
    { x: normal(4, 8), size: given("f32", [4, 1], [1, 0.001, 0, 300]) },
    (o, { x, size }) => {
      const { bytes, scales } = o.quantizeRows(o.mul(x, size));
      return [o.cast(bytes, "f32"), scales];
    },
    [],
  ),
  row(
    "integerMatMul: [3, 70] · [70, 5], extremes included",
    {
      bytes: spec("u8", [3, 70], (random, i) => (i < 70 ? 255 : random.integer(256))),
      weights: spec("i8", [70, 5], (random, i) => (i % 5 === 0 ? 127 : random.integer(255) - 127)),
      scales: positive(5),
    },
    (o, { bytes, weights, scales }) => o.integerMatMul(bytes, weights, scales),
    [],
  ),

  // blocks.ts
  row(
    "dequantizeBlocks: four bits [3, 64] in blocks of 16",
    { scales: positive(3, 4), middles: normal(3, 4) },
    (o, { scales, middles }) => [
      o.dequantizeBlocks(codes("u4", [3, 64], 96), scales, codes("u4", [3, 4], 6)),
      o.dequantizeBlocks(codes("u4", [3, 64], 96), scales, codes("u4", [3, 4], 6), middles),
    ],
    [],
  ),
  row(
    "dequantizeBlocks: eight bits [2, 64] in blocks of 32",
    { scales: positive(2, 2) },
    (o, { scales }) => o.dequantizeBlocks(codes("u8", [2, 64], 128), scales, codes("u8", [2, 2], 4)),
    [],
  ),
  row(
    "lookUpBlocks: [3, 64] in blocks of 32",
    { scales: positive(3, 2) },
    (o, { scales }) => {
      const quads = Float32Array.from({ length: 65536 * 4 }, (_, i) => Math.fround(Math.sin(i)));
      return o.lookUpBlocks(
        codes("u16", [3, 16], 96),
        scales,
        constant({ dtype: "f32", shape: [65536, 4], data: quads }),
      );
    },
    [],
  ),
  row(
    "normalFloatMatMul: [3, 128] by [5, 128] in blocks of 64",
    { x: normal(3, 128), scales: positive(10) },
    (o, { x, scales }) => o.normalFloatMatMul(x, codes("u8", [320], 320), scales),
    [],
  ),
  row(
    "blockMatMul: four bits, [3, 96] by [5, 96] in blocks of 32, odd blocks",
    { x: normal(3, 96), scales: positive(5, 3) },
    (o, { x, scales }) =>
      o.blockMatMul(x, codes("u8", [5, 3, 16], 240), scales, codes("u8", [5, 2], 10), { rounded: false }),
    [],
  ),
  row(
    "blockMatMul: eight bits, [3, 64] by [5, 64] in blocks of 16, zeros left out",
    { x: normal(3, 64), scales: positive(5, 4) },
    (o, { x, scales }) => o.blockMatMul(x, codes("u8", [5, 4, 16], 320), scales, null, { rounded: false }),
    [],
  ),
  row("blockSums: [3, 96] in blocks of 32", { x: normal(3, 96) }, (o, { x }) => o.blockSums(x, 32)),

  // rotary.ts
  ...(
    [
      ["whole heads", [2, 3, 4, 8], 4],
      ["half of each head", [1, 2, 3, 8], 2],
    ] as const
  ).map(([name, shape, half]) => {
    const [B, , T] = shape;
    const angles = normal(B * T, half);
    return row(
      `rotary: ${name}`,
      { x: normal(...shape), rows: spec("i32", [B, T], (_, i) => (i + 1) % (B * T)), cos: angles, sin: angles },
      (o, { x, rows, cos, sin }) => o.rotary(x, rows, cos, sin),
      ["x"],
    );
  }),

  // rule.ts
  row("withGradient: x² by hand", { x: normal(2, 3) }, (o, { x }) =>
    o.withGradient(o.mul(o.detach(x), o.detach(x)), [x], (dy) => [o.scale(o.mul(dy, x), 2)]),
  ),
  row(
    "withGradient: two inputs, one of them without",
    { a: normal(2, 3), b: normal(3) },
    (o, { a, b }) => o.withGradient(o.mul(a, b), [a, b], (dy) => [o.mul(dy, b), null]),
    ["a"],
  ),
  row("detach: a factor", { x: normal(2, 3), z: normal(3) }, (o, { x, z }) => o.mul(x, o.detach(o.exp(z))), ["x"]),
  row(
    "after: a gate of the same shape",
    { x: normal(2, 3), gate: normal(2, 3) },
    (o, { x, gate }) => o.after(o.mul(x, x), o.exp(gate)),
    ["x"],
  ),
  row(
    "after: a gate of another shape",
    { x: normal(2, 3), gate: normal(4) },
    (o, { x, gate }) => o.after(o.mul(x, x), o.sumAll(o.exp(gate))),
    ["x"],
  ),
  row("after: the gate is used too", { x: normal(2, 3) }, (o, { x }) => {
    const gate = o.exp(x);
    return o.mul(o.after(x, gate), gate);
  }),

  // turns.ts
  ...[true, false].map((loop) =>
    row(
      `inTurns: a running sum of slices, with what is around them (${loop ? "a loop" : "unrolled"})`,
      { x: normal(6, 3), y: normal(6), scale: normal(3), start: normal(3), kept: normal(2) },
      (o, { x, y, scale, start, kept }) => {
        const around = o.exp(scale!);
        const { held, results } = o.inTurns([x!, y!], [start!, kept!], { count: 3, loop }, ([part, own], [sum]) => {
          const scaled = o.mul(o.mul(part!, around), o.reshape(own!, [2, 1]));
          return {
            results: [scaled, o.neg(own!), around],
            held: [o.add(sum!, o.reshape(o.reduceSum(scaled, [0]), [3])), null],
          };
        });
        return [...results, ...held.flatMap((value) => value ?? [])];
      },
      [],
    ),
  ),
];
