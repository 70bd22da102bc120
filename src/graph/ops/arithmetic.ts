/** Element-wise arithmetic with ONNX broadcasting. */

import { broadcastShape } from "../../tensor/shape.ts";
import { apply, demand, type Op, scalar, type TensorType, type Value } from "../graph.ts";

type Binary = Op<Record<never, never>>;
type Unary = Op<Record<never, never>>;

function broadcast(type: string, dtype?: "bool"): Binary["infer"] {
  return ([a, b]) => {
    const shape = broadcastShape(a!.shape, b!.shape);
    demand(shape !== null, type, `[${a!.shape}] and [${b!.shape}] do not broadcast`);
    demand(a!.dtype === b!.dtype, type, `element types differ: ${a!.dtype} and ${b!.dtype}`);
    return [{ dtype: dtype ?? a!.dtype, shape }];
  };
}

const same = ([x]: readonly TensorType[]): readonly TensorType[] => [{ dtype: x!.dtype, shape: x!.shape }];

const Add: Binary = { type: "Add", infer: broadcast("Add"), gradient: ({ dy }) => [dy, dy] };
const Sub: Binary = { type: "Sub", infer: broadcast("Sub"), gradient: ({ dy }) => [dy, neg(dy)] };
const Mul: Binary = {
  type: "Mul",
  infer: broadcast("Mul"),
  gradient: ({ dy, x: [a, b] }) => [mul(dy, b!), mul(dy, a!)],
};
const Div: Binary = {
  type: "Div",
  infer: broadcast("Div"),
  gradient: ({ dy, y: [y], x: [, b] }) => {
    const da = div(dy, b!);
    return [da, neg(mul(da, y!))]; // d(a/b)/db = -(a/b)/b
  },
};
const Max: Binary = {
  type: "Max",
  infer: broadcast("Max"),
  gradient: ({ dy, x: [a, b] }) => {
    const first = greater(a!, b!);
    return [where(first, dy, scalar(0)), where(first, scalar(0), dy)];
  },
};
const Neg: Unary = { type: "Neg", infer: same, gradient: ({ dy }) => [neg(dy)] };
const Abs: Unary = {
  type: "Abs",
  infer: same,
  gradient: ({ dy, x: [x] }) => [where(greater(x!, scalar(0)), dy, neg(dy))],
};
const Exp: Unary = { type: "Exp", infer: same, gradient: ({ dy, y: [y] }) => [mul(dy, y!)] };
const Log: Unary = { type: "Log", infer: same, gradient: ({ dy, x: [x] }) => [div(dy, x!)] };
const Sqrt: Unary = { type: "Sqrt", infer: same, gradient: ({ dy, y: [y] }) => [div(scale(dy, 0.5), y!)] };
const Reciprocal: Unary = {
  type: "Reciprocal",
  infer: same,
  gradient: ({ dy, y: [y] }) => [neg(mul(dy, mul(y!, y!)))],
};

const Greater: Binary = { type: "Greater", infer: broadcast("Greater", "bool") };
const GreaterOrEqual: Binary = { type: "GreaterOrEqual", infer: broadcast("GreaterOrEqual", "bool") };
const Less: Binary = { type: "Less", infer: broadcast("Less", "bool") };
const Equal: Binary = { type: "Equal", infer: broadcast("Equal", "bool") };
const And: Binary = { type: "And", infer: broadcast("And") };
const Or: Binary = { type: "Or", infer: broadcast("Or") };

const Where: Op<Record<never, never>> = {
  type: "Where",
  infer: ([condition, a, b]) => {
    const values = broadcastShape(a!.shape, b!.shape);
    const shape = values && broadcastShape(condition!.shape, values);
    demand(shape !== null, "Where", `[${condition!.shape}], [${a!.shape}] and [${b!.shape}] do not broadcast`);
    return [{ dtype: a!.dtype, shape }];
  },
  gradient: ({ dy, x: [condition] }) => [null, where(condition!, dy, scalar(0)), where(condition!, scalar(0), dy)],
};

export const add = (a: Value, b: Value): Value => apply(Add, [a, b], {});
export const sub = (a: Value, b: Value): Value => apply(Sub, [a, b], {});
export const mul = (a: Value, b: Value): Value => apply(Mul, [a, b], {});
export const div = (a: Value, b: Value): Value => apply(Div, [a, b], {});
/** Element-wise larger one. Ties send the gradient to `b`. */
export const max = (a: Value, b: Value): Value => apply(Max, [a, b], {});
export const neg = (x: Value): Value => apply(Neg, [x], {});
export const abs = (x: Value): Value => apply(Abs, [x], {});
export const exp = (x: Value): Value => apply(Exp, [x], {});
export const log = (x: Value): Value => apply(Log, [x], {});
export const sqrt = (x: Value): Value => apply(Sqrt, [x], {});
export const reciprocal = (x: Value): Value => apply(Reciprocal, [x], {});
export const greater = (a: Value, b: Value): Value => apply(Greater, [a, b], {});
export const greaterOrEqual = (a: Value, b: Value): Value => apply(GreaterOrEqual, [a, b], {});
export const less = (a: Value, b: Value): Value => apply(Less, [a, b], {});
export const equal = (a: Value, b: Value): Value => apply(Equal, [a, b], {});
export const and = (a: Value, b: Value): Value => apply(And, [a, b], {});
export const or = (a: Value, b: Value): Value => apply(Or, [a, b], {});
export const where = (condition: Value, a: Value, b: Value): Value => apply(Where, [condition, a, b], {});

/** x times a number. */
export const scale = (x: Value, factor: number): Value => (factor === 1 ? x : mul(x, scalar(factor)));
/** x plus a number. */
export const shift = (x: Value, term: number): Value => (term === 0 ? x : add(x, scalar(term)));
