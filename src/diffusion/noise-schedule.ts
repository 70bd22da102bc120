/**
 * How much noise each training step stands for, and what a model predicts of it.
 * Sources: Ho et al. 2020 (DDPM); Salimans and Ho 2022 (v prediction); Lin et al. 2024, "Common diffusion noise schedules
 * and sample steps are flawed" (zero terminal SNR, spacings); field names and defaults: diffusers `schedulers/`.
 */

import { ModelError } from "../errors.ts";
import { type RawConfig, readChoice, readFlag, readNumber, readSize, refuseUnless } from "../models/config.ts";
import { mix } from "./mix.ts";

const { fround } = Math;

export type Prediction = "epsilon" | "v_prediction" | "sample";

export interface NoiseSchedule {
  /** Steps of training, T. */
  readonly steps: number;
  /** ᾱ of each step: the share of the image in the noisy one's variance. */
  readonly alphas: Float64Array;
  readonly prediction: Prediction;
}

/** What a class of schedulers takes where scheduler_config.json leaves a field out. */
export interface ScheduleDefaults {
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: string;
}

export const LINEAR: ScheduleDefaults = { beta_start: 0.0001, beta_end: 0.02, beta_schedule: "linear" };

export function readNoiseSchedule(raw: RawConfig, defaults: ScheduleDefaults = LINEAR): NoiseSchedule {
  refuseUnless(raw, "thresholding", [false]);
  const steps = readSize(raw, "num_train_timesteps", 1000);
  const betas = readBetas(raw, steps, defaults);
  // Rounded as diffusers' float32 tensors are (PyTorch's cumprod adds up in float64): places among close logarithms show it.
  let product = 1;
  const alphas = betas.map((beta) => {
    product *= fround(1 - fround(beta));
    return fround(product);
  });
  return {
    steps,
    alphas: readFlag(raw, "rescale_betas_zero_snr", false) ? zeroTerminal(alphas) : alphas,
    prediction: readChoice(raw, "prediction_type", ["epsilon", "v_prediction", "sample"] as const, "epsilon"),
  };
}

function readBetas(raw: RawConfig, steps: number, defaults: ScheduleDefaults): Float64Array {
  const trained = raw["trained_betas"] ?? null;
  if (trained !== null) {
    if (Array.isArray(trained) && trained.length === steps && trained.every((beta) => typeof beta === "number"))
      return Float64Array.from(trained);
    throw new ModelError(`scheduler_config.json: trained_betas is no list of num_train_timesteps ${steps} numbers`);
  }
  const [from, to] = [
    readNumber(raw, "beta_start", defaults.beta_start),
    readNumber(raw, "beta_end", defaults.beta_end),
  ];
  const kinds = ["linear", "scaled_linear", "squaredcos_cap_v2"];
  switch (readChoice(raw, "beta_schedule", kinds, defaults.beta_schedule)) {
    case "linear":
      return linearSpace(from, to, steps);
    case "scaled_linear":
      return linearSpace(Math.sqrt(from), Math.sqrt(to), steps).map((root) => fround(root ** 2));
    default: {
      const share = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float64Array.from({ length: steps }, (_, i) =>
        Math.min(1 - share((i + 1) / steps) / share(i / steps), 0.999),
      );
    }
  }
}

/** Evenly spaced float32 numbers, counted from both ends as torch.linspace counts them. */
function linearSpace(from: number, to: number, steps: number): Float64Array {
  const [a, b] = [fround(from), fround(to)];
  const step = fround(fround(b - a) / Math.max(1, steps - 1));
  return Float64Array.from({ length: steps }, (_, i) =>
    fround(i < steps / 2 ? a + step * i : b - step * (steps - 1 - i)),
  );
}

/** √ᾱ shifted and scaled so that the last is 0 and the first stays (algorithm 1 of Lin et al.). */
function zeroTerminal(alphas: Float64Array): Float64Array {
  const roots = alphas.map(Math.sqrt);
  const [first, last] = [roots[0]!, roots.at(-1)!];
  return roots.map((root) => (((root - last) * first) / (first - last)) ** 2);
}

/** √ᾱ·x + √(1 − ᾱ)·noise: the image as step t sees it. */
export function addNoise({ alphas }: NoiseSchedule, x: Float32Array, noise: Float32Array, t: number): Float32Array {
  return mix([Math.sqrt(alphas[t]!), x], [Math.sqrt(1 - alphas[t]!), noise]);
}

/** v = √ᾱ·noise − √(1 − ᾱ)·x: what a model of v prediction is trained for. */
export function velocity({ alphas }: NoiseSchedule, x: Float32Array, noise: Float32Array, t: number): Float32Array {
  return mix([Math.sqrt(alphas[t]!), noise], [-Math.sqrt(1 - alphas[t]!), x]);
}

/** The image that an output stands for, given the sample and its ᾱ. */
export function imageOf(
  prediction: Prediction,
  output: Float32Array,
  sample: Float32Array,
  alpha: number,
): Float32Array {
  const [a, b] = [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
  switch (prediction) {
    case "epsilon":
      return mix([1 / a, sample], [-b / a, output]);
    case "v_prediction":
      return mix([a, sample], [-b, output]);
    case "sample":
      return output;
  }
}

/** The noise that an output stands for. */
export function noiseOf(
  prediction: Prediction,
  output: Float32Array,
  sample: Float32Array,
  alpha: number,
): Float32Array {
  const [a, b] = [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
  switch (prediction) {
    case "epsilon":
      return output;
    case "v_prediction":
      return mix([a, output], [b, sample]);
    case "sample":
      return mix([1 / b, sample], [-a / b, output]);
  }
}
