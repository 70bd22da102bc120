/**
 * Activations. Gradients are arranged for few passes over memory: on a CPU these ops are bound by it.
 * Sources: Hendrycks and Gimpel 2016 (GELU); Ramachandran et al. 2017 (SiLU, swish).
 */

import { apply, demand, type Op, scalar, type TensorType, type Value } from "../graph.ts";
import { add, div, exp, greater, mul, scale, shift, sub, where } from "./arithmetic.ts";
import { reduceSum } from "./broadcast.ts";

type Unary = Op<Record<never, never>>;

const same = ([x]: readonly TensorType[]): readonly TensorType[] => [{ dtype: x!.dtype, shape: x!.shape }];

const Tanh: Unary = {
  type: "Tanh",
  infer: same,
  gradient: ({ dy, y: [y] }) => [sub(dy, mul(dy, mul(y!, y!)))],
};
const Sigmoid: Unary = {
  type: "Sigmoid",
  infer: same,
  gradient: ({ dy, y: [y] }) => [mul(dy, sub(y!, mul(y!, y!)))],
};
const Relu: Unary = {
  type: "Relu",
  infer: same,
  gradient: ({ dy, x: [x] }) => [where(greater(x!, scalar(0)), dy, scalar(0))],
};
const Erf: Unary = {
  type: "Erf",
  infer: same,
  gradient: ({ dy, x: [x] }) => [mul(dy, scale(exp(scale(mul(x!, x!), -1)), 2 / Math.sqrt(Math.PI)))],
};

const C = Math.sqrt(2 / Math.PI);
const K = 0.044715;

const Gelu: Op<{ readonly approximate: "none" | "tanh" }> = {
  type: "Gelu",
  infer: same,
  gradient: ({ dy, x: [x], y: [y], attributes: { approximate } }) => {
    const square = mul(x!, x!);
    if (approximate === "none") {
      // y' = Phi(x) + x phi(x)
      const phi = scale(exp(scale(square, -0.5)), 1 / Math.sqrt(2 * Math.PI));
      const cumulative = shift(scale(erf(scale(x!, Math.SQRT1_2)), 0.5), 0.5);
      return [mul(dy, add(cumulative, mul(x!, phi)))];
    }
    // With s = sigmoid(w), w = 2C(x + K x^3): y = x s, so y' = s + y (1 - s) w' = s (1 + (x - y) w'), w' = 2C(1 + 3K x^2).
    const s = sigmoid(mul(x!, shift(scale(square, 2 * C * K), 2 * C)));
    const slope = shift(scale(square, 6 * C * K), 2 * C);
    return [mul(dy, mul(s, shift(mul(sub(x!, y!), slope), 1)))];
  },
};

const Silu: Unary = {
  type: "Silu",
  infer: same,
  // y = x s: y' = s + y (1 - s) = s (1 + x - y)
  gradient: ({ dy, x: [x], y: [y] }) => [mul(dy, mul(sigmoid(x!), shift(sub(x!, y!), 1)))],
};

const Softmax: Op<{ readonly axis: number }> = {
  type: "Softmax",
  infer: ([x], { axis }) => {
    demand(axis === -1, "Softmax", `axis ${axis}, needed -1`);
    return same([x!]);
  },
  gradient: ({ dy, y: [y] }) => {
    const weighted = mul(dy, y!);
    return [sub(weighted, mul(y!, reduceSum(weighted, [-1])))];
  },
};

export const tanh = (x: Value): Value => apply(Tanh, [x], {});
export const sigmoid = (x: Value): Value => apply(Sigmoid, [x], {});
export const relu = (x: Value): Value => apply(Relu, [x], {});
export const erf = (x: Value): Value => apply(Erf, [x], {});
/** Exact GELU, x Phi(x). */
export const gelu = (x: Value): Value => apply(Gelu, [x], { approximate: "none" });
/** GELU by the tanh formula, `gelu_new` of transformers. */
export const geluTanh = (x: Value): Value => apply(Gelu, [x], { approximate: "tanh" });
/** x sigmoid(x). */
export const silu = (x: Value): Value => apply(Silu, [x], {});
/** x sigmoid(1.702 x), `quick_gelu` of transformers. */
export const quickGelu = (x: Value): Value => mul(x, sigmoid(scale(x, 1.702)));
/** Softmax over the last axis. */
export const softmax = (x: Value): Value => apply(Softmax, [x], { axis: -1 });
/** tanh(x / cap) cap, the logit soft cap of Gemma 2. */
export const softCap = (x: Value, cap: number): Value => scale(tanh(div(x, scalar(cap))), cap);
