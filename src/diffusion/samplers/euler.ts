/**
 * Euler's method on the probability flow, and its ancestral form that puts fresh noise in at each step (Karras et al. 2022;
 * Crowson's k-diffusion). Source of options: diffusers `scheduling_euler_discrete.py`, `scheduling_euler_ancestral_discrete.py`.
 */

import { type RawConfig, readNumber } from "../../models/config.ts";
import { mix } from "../mix.ts";
import { imageOf, type NoiseSchedule, readNoiseSchedule } from "../noise-schedule.ts";
import { interpolate, karrasSigmas, placeOf, readSigmaOptions, trainingSigmas } from "../sigmas.ts";
import { readSpacing, roundHalfEven, type Spacing, spacedSteps } from "../timesteps.ts";
import type { Sampler } from "./sampler.ts";

export function euler(raw: RawConfig, count: number): Sampler {
  const options = readSigmaOptions(raw);
  const { schedule, spacing, all, places } = readEuler(raw, count);
  let timesteps = places;
  let sigmas = interpolate(all, places);
  if (options.karras) {
    sigmas = karrasSigmas(options.most ?? sigmas[0]!, options.least ?? sigmas.at(-1)!, count);
    timesteps = sigmas.map((sigma) => placeOf(sigma, all));
  }
  sigmas.push(options.final === "zero" ? 0 : all[0]!);
  return {
    ...common(sigmas, spacing),
    timesteps,
    step: (output, index, sample) => {
      const [sigma, next] = [sigmas[index]!, sigmas[index + 1]!];
      const image = imageAt(schedule, output, sample, sigma);
      return { sample: along(sample, image, sigma, next), image };
    },
  };
}

export function eulerAncestral(raw: RawConfig, count: number): Sampler {
  const { schedule, spacing, all, places } = readEuler(raw, count);
  const sigmas = [...interpolate(all, places), 0];
  return {
    ...common(sigmas, spacing),
    timesteps: places,
    step: (output, index, sample, noise) => {
      const [sigma, next] = [sigmas[index]!, sigmas[index + 1]!];
      const image = imageAt(schedule, output, sample, sigma);
      const up = Math.sqrt((next ** 2 * (sigma ** 2 - next ** 2)) / sigma ** 2);
      const down = Math.sqrt(next ** 2 - up ** 2);
      const moved = along(sample, image, sigma, down);
      return { sample: up === 0 ? moved : mix([1, moved], [up, noise()]), image };
    },
  };
}

interface EulerFacts {
  readonly schedule: NoiseSchedule;
  readonly spacing: Spacing;
  /** σ of every step of training. */
  readonly all: Float64Array;
  /** The steps to take, as places among them. */
  readonly places: readonly number[];
}

function readEuler(raw: RawConfig, count: number): EulerFacts {
  const schedule = readNoiseSchedule(raw);
  const spacing = readSpacing(raw, "linspace");
  const steps = spacedSteps(spacing, { count, total: schedule.steps, offset: readNumber(raw, "steps_offset", 0) });
  const places = spacing === "linspace" ? steps.map(Math.fround) : steps.map(roundHalfEven);
  return { schedule, spacing, all: trainingSigmas(schedule), places };
}

function common(sigmas: readonly number[], spacing: Spacing): Pick<Sampler, "startSigma" | "inputScale" | "start"> {
  const most = Math.max(...sigmas);
  return {
    startSigma: spacing === "leading" ? Math.sqrt(most ** 2 + 1) : most,
    inputScale: (index) => 1 / Math.sqrt(sigmas[index]! ** 2 + 1),
    start: (image, noise, index) => mix([1, image], [sigmas[index]!, noise]),
  };
}

/** A sample here is image + σ · noise: larger by √(σ² + 1) than what models are trained on. */
function imageAt(
  { prediction }: NoiseSchedule,
  output: Float32Array,
  sample: Float32Array,
  sigma: number,
): Float32Array {
  const alpha = 1 / (sigma ** 2 + 1);
  return prediction === "epsilon"
    ? mix([1, sample], [-sigma, output])
    : imageOf(prediction, output, mix([Math.sqrt(alpha), sample]), alpha);
}

/** Along the line from the sample through the image, to another σ. */
function along(sample: Float32Array, image: Float32Array, sigma: number, next: number): Float32Array {
  return mix([next / sigma, sample], [1 - next / sigma, image]);
}
