/**
 * Normalisations over the last axis, and group norm over an image's channels.
 * Sources: Ba et al. 2016 (layer norm), Zhang and Sennrich 2019 (RMS norm), Wu and He 2018 (group norm).
 */

import { sizeOf } from "../../tensor/shape.ts";
import { applyAll, demand, type Op, type Value } from "../graph.ts";
import { add, mul, neg, reciprocal, shift, sqrt, sub } from "./arithmetic.ts";
import { reduceSum, reshape } from "./broadcast.ts";
import { reduceMean } from "./reduce.ts";
import { withGradient } from "./rule.ts";

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
  // In passes over [.., C] as few as PyTorch's kernel makes: dx = (dy·gain)/σ + x·a + b, with a and b a row each.
  gradient: ({ dy, y: [, mean, inverse], x: [x, gain] }) => {
    const scaled = mul(dy, gain!);
    const average = reduceMean(scaled, [-1]);
    const along = reduceMean(mul(scaled, x!), [-1]);
    const a = mul(sub(mul(average, mean!), along), mul(inverse!, mul(inverse!, inverse!)));
    const b = neg(add(mul(a, mean!), mul(average, inverse!)));
    const dx = add(add(mul(scaled, inverse!), mul(x!, a)), b);
    return [dx, mul(dy, mul(sub(x!, mean!), inverse!)), dy];
  },
};

const RmsNormalization: Op<Epsilon> = {
  type: "SimplifiedLayerNormalization",
  infer: ([x, gain]) => {
    demand(gain!.shape[0] === x!.shape.at(-1), "RmsNormalization", `[${x!.shape}], gain [${gain!.shape}]`);
    const rows = { dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), 1] };
    return [{ dtype: x!.dtype, shape: x!.shape }, rows]; // y, 1 / root mean square
  },
  gradient: ({ dy, y: [, inverse], x: [x, gain] }) => {
    const scaled = mul(dy, gain!);
    const along = mul(reduceMean(mul(scaled, x!), [-1]), mul(inverse!, inverse!));
    return [mul(sub(scaled, mul(x!, along)), inverse!), mul(dy, mul(x!, inverse!))];
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

/**
 * Images x [B, C, H, W], standardised over each group of C / groups channels with their pixels, · gain + bias; both [C].
 */
export function groupNorm(x: Value, gain: Value, bias: Value, groups: number, epsilon: number): Value {
  const [B = 0, C = 0] = x.shape;
  demand(
    C % groups === 0 && gain.shape[0] === C,
    "GroupNorm",
    `[${x.shape}] in ${groups} groups, gain [${gain.shape}]`,
  );
  const unit = standardize(reshape(x, [B * groups, sizeOf(x.shape) / (B * groups)]), epsilon);
  const each = [C, ...x.shape.slice(2).map(() => 1)];
  return add(mul(reshape(unit, x.shape), reshape(gain, each)), reshape(bias, each));
}

/** (x - mean) / sqrt(variance + ε) over the last axis. Its gradient needs no more than the result and 1 / sqrt(…). */
function standardize(x: Value, epsilon: number): Value {
  const centred = sub(x, reduceMean(x, [-1]));
  const inverse = reciprocal(sqrt(shift(reduceMean(mul(centred, centred), [-1]), epsilon)));
  const unit = mul(centred, inverse);
  return withGradient(unit, [x], (dy) => {
    const projected = sub(sub(dy, reduceMean(dy, [-1])), mul(unit, reduceMean(mul(dy, unit), [-1])));
    return [mul(projected, inverse)];
  });
}

/** Euclidean norm over the last axis, which stays with extent 1. */
export function norm2(x: Value): Value {
  return sqrt(reduceSum(mul(x, x), [-1]));
}
