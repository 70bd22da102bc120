/**
 * Normalisations over the last axis.
 * Sources: Ba et al. 2016 (layer norm), Zhang and Sennrich 2019 (RMS norm).
 */

import { applyAll, demand, type Op, type Value } from "../graph.ts";
import { mul, reciprocal, shift, sqrt, sub } from "./arithmetic.ts";
import { reduceSum } from "./broadcast.ts";
import { reduceMean } from "./reduce.ts";

interface Epsilon {
  readonly epsilon: number;
}

const LayerNormalization: Op<Epsilon> = {
  type: "LayerNormalization",
  infer: ([x, gain, bias]) => {
    const width = x!.shape.at(-1);
    demand(
      gain!.shape[0] === width && bias!.shape[0] === width,
      "LayerNormalization",
      `[${x!.shape}], gain [${gain!.shape}]`,
    );
    const rows = { dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), 1] };
    return [{ dtype: x!.dtype, shape: x!.shape }, rows, rows]; // y, mean, 1 / standard deviation
  },
  gradient: ({ dy, y: [, mean, inverse], x: [x, gain] }) => {
    const unit = mul(sub(x!, mean!), inverse!);
    const scaled = mul(dy, gain!);
    const projected = sub(sub(scaled, reduceMean(scaled, [-1])), mul(unit, reduceMean(mul(scaled, unit), [-1])));
    return [mul(projected, inverse!), mul(dy, unit), dy];
  },
};

const RmsNormalization: Op<Epsilon> = {
  type: "SimplifiedLayerNormalization",
  infer: ([x, gain]) => {
    demand(gain!.shape[0] === x!.shape.at(-1), "RmsNormalization", `[${x!.shape}], gain [${gain!.shape}]`);
    return [{ dtype: x!.dtype, shape: x!.shape }];
  },
  // The inverse root mean square is computed again: WebGPU's second output holds something else.
  gradient: ({ dy, x: [x, gain], attributes: { epsilon } }) => {
    const inverse = reciprocal(sqrt(shift(reduceMean(mul(x!, x!), [-1]), epsilon)));
    const unit = mul(x!, inverse);
    const scaled = mul(dy, gain!);
    return [mul(sub(scaled, mul(unit, reduceMean(mul(scaled, unit), [-1]))), inverse), mul(dy, unit)];
  },
};

/** (x - mean) / sqrt(variance + ε) · gain + bias over the last axis; gain and bias [C]. */
export function layerNorm(x: Value, gain: Value, bias: Value, epsilon: number): Value {
  return applyAll(LayerNormalization, [x, gain, bias], { epsilon })[0]!;
}

/** x / sqrt(mean(x²) + ε) · gain over the last axis; gain [C]. */
export function rmsNorm(x: Value, gain: Value, epsilon: number): Value {
  return applyAll(RmsNormalization, [x, gain], { epsilon })[0]!;
}

/** Euclidean norm over the last axis, which stays with extent 1. */
export function norm2(x: Value): Value {
  return sqrt(reduceSum(mul(x, x), [-1]));
}
