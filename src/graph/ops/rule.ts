/** Values whose gradient is given by hand, where the composed one would cost more time or memory. */

import { apply, type Op, type Value } from "../graph.ts";

export type GradientRule = (dy: Value) => readonly (Value | null)[];

interface RuleAttributes {
  readonly rule: GradientRule;
}

const WithGradient: Op<RuleAttributes> = {
  type: "WithGradient",
  infer: ([y]) => [{ dtype: y!.dtype, shape: y!.shape }],
  gradient: ({ dy, attributes: { rule } }) => [null, ...rule(dy)],
};

/** The value y, a function of `inputs`, whose gradients with respect to them are `rule(dy)`. Costs nothing to run. */
export function withGradient(y: Value, inputs: readonly Value[], rule: GradientRule): Value {
  return apply(WithGradient, [y, ...inputs], { rule });
}

/** The value y, through which no gradient flows. */
export function detach(y: Value): Value {
  return apply(WithGradient, [y], { rule: () => [] });
}

const After: Op<Record<never, never>> = {
  type: "After",
  infer: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  gradient: ({ dy }) => [dy, null],
};

/**
 * The value x, available only once `gate` has been computed. It orders what the runtime is free to order: recomputed
 * segments and chunks would all run at once, and save no memory.
 */
export function after(x: Value, gate: Value): Value {
  return apply(After, [x, gate], {});
}
