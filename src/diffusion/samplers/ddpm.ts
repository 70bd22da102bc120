/** Ancestral sampling as in training (Ho et al. 2020, equation 7). Source of options: diffusers `scheduling_ddpm.py`. */

import { type RawConfig, readChoice, readFlag, readNumber } from "../../models/config.ts";
import { clipped, mix } from "../mix.ts";
import { addNoise, imageOf, readNoiseSchedule } from "../noise-schedule.ts";
import { readSpacing, roundHalfEven, spacedSteps } from "../timesteps.ts";
import type { Sampler } from "./sampler.ts";

export function ddpm(raw: RawConfig, count: number): Sampler {
  const schedule = readNoiseSchedule(raw);
  const { alphas, steps: total, prediction } = schedule;
  const limit = readFlag(raw, "clip_sample", true) ? readNumber(raw, "clip_sample_range", 1) : null;
  const large =
    readChoice(raw, "variance_type", ["fixed_small", "fixed_large"] as const, "fixed_small") === "fixed_large";
  const offset = readNumber(raw, "steps_offset", 0);
  const timesteps = spacedSteps(readSpacing(raw, "leading"), { count, total, offset }).map(roundHalfEven);
  return {
    timesteps,
    startSigma: 1,
    inputScale: () => 1,
    start: (image, noise, index) => addNoise(schedule, image, noise, timesteps[index]!),
    step: (output, index, sample, noise) => {
      const alpha = alphas[timesteps[index]!]!;
      const next = index + 1 < timesteps.length ? alphas[timesteps[index + 1]!]! : 1;
      const found = imageOf(prediction, output, sample, alpha);
      const image = limit === null ? found : clipped(found, limit);
      const beta = 1 - alpha / next;
      const [ofImage, ofSample] = [
        (Math.sqrt(next) * beta) / (1 - alpha),
        (Math.sqrt(alpha / next) * (1 - next)) / (1 - alpha),
      ];
      const mean = mix([ofImage, image], [ofSample, sample]);
      if (timesteps[index] === 0) return { sample: mean, image };
      const variance = large ? beta : Math.max(((1 - next) / (1 - alpha)) * beta, 1e-20);
      return { sample: mix([1, mean], [Math.sqrt(variance), noise()]), image };
    },
  };
}
