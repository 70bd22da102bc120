/** Noise as a multiple of the image: σ = √((1 − ᾱ) / ᾱ), which the ODE solvers step through (Karras et al. 2022). */

import { ModelError } from "../errors.ts";
import { type RawConfig, readChoice, readFlag, readNumber, refuseUnless } from "../models/config.ts";
import type { NoiseSchedule } from "./noise-schedule.ts";
import { linspace } from "./timesteps.ts";

const { fround } = Math;

/** σ of every step of training, rising. A last ᾱ of 0 counts as 2⁻²⁴, as an infinite σ would be of no use. */
export function trainingSigmas({ alphas }: NoiseSchedule): Float64Array {
  return alphas.map((alpha) => {
    const held = Math.max(alpha, 2 ** -24);
    return fround(Math.sqrt(fround(fround(1 - held) / held))); // rounded as diffusers' tensors are
  });
}

/** Values at fractional places. */
export function interpolate(values: Float64Array, places: readonly number[]): number[] {
  return places.map((place) => {
    const low = Math.min(Math.max(Math.floor(place), 0), values.length - 1);
    const high = Math.min(low + 1, values.length - 1);
    const share = Math.min(Math.max(place - low, 0), 1);
    return values[low]! * (1 - share) + values[high]! * share;
  });
}

/** The place among rising `sigmas` that a σ has, by its logarithm. */
export function placeOf(sigma: number, sigmas: Float64Array): number {
  const wanted = Math.log(Math.max(sigma, 1e-10));
  let low = 0;
  while (low < sigmas.length - 2 && Math.log(sigmas[low + 1]!) <= wanted) low++;
  const [from, to] = [fround(Math.log(sigmas[low]!)), fround(Math.log(sigmas[low + 1]!))];
  return low + Math.min(Math.max((wanted - from) / (to - from), 0), 1);
}

/** `count` values of σ from `most` to `least` whose seventh roots are evenly spaced (Karras et al., equation 5). */
export function karrasSigmas(most: number, least: number, count: number): number[] {
  return linspace(most ** (1 / 7), least ** (1 / 7), count).map((root) => root ** 7);
}

export interface SigmaOptions {
  readonly karras: boolean;
  /** What stands for the σ of the finished image. */
  readonly final: "zero" | "sigma_min";
  /** Bounds of Karras's values; null takes those of the steps. */
  readonly least: number | null;
  readonly most: number | null;
}

export function readSigmaOptions(raw: RawConfig): SigmaOptions {
  for (const field of ["use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas"]) {
    refuseUnless(raw, field, [false]);
  }
  refuseUnless(raw, "interpolation_type", ["linear"]);
  refuseUnless(raw, "timestep_type", ["discrete"]);
  const bound = (field: string): number | null => ((raw[field] ?? null) === null ? null : readNumber(raw, field, 0));
  const options: SigmaOptions = {
    karras: readFlag(raw, "use_karras_sigmas", false),
    final: readChoice(raw, "final_sigmas_type", ["zero", "sigma_min"] as const, "zero"),
    least: bound("sigma_min"),
    most: bound("sigma_max"),
  };
  if (options.least !== null && options.least <= 0)
    throw new ModelError(`scheduler_config.json: sigma_min is ${options.least}, needed a number above 0`);
  return options;
}
