/**
 * Consistency sampling (Luo et al. 2023): each step finishes the image, and puts noise back in before the next.
 * Source of options: diffusers `scheduling_lcm.py`.
 */

import { UsageError } from "../../errors.ts";
import { type RawConfig, readFlag, readNumber, readSize } from "../../models/config.ts";
import { clipped, mix } from "../mix.ts";
import { addNoise, imageOf, readNoiseSchedule } from "../noise-schedule.ts";
import type { Sampler } from "./sampler.ts";

const DEFAULTS = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };
/** Standard deviation of images that the boundary condition assumes. */
const SIGMA_DATA = 0.5;

export function lcm(raw: RawConfig, count: number): Sampler {
  const schedule = readNoiseSchedule(raw, DEFAULTS);
  const { alphas, steps: total, prediction } = schedule;
  const limit = readFlag(raw, "clip_sample", false) ? readNumber(raw, "clip_sample_range", 1) : null;
  const scaling = readNumber(raw, "timestep_scaling", 10);
  const distilled = readSize(raw, "original_inference_steps", 50);
  if (count > distilled) {
    throw new UsageError(`steps ${count} is more than the ${distilled} that LCM was distilled from. Take 2 to 8.`);
  }
  const stride = Math.floor(total / distilled);
  const timesteps = Array.from(
    { length: count },
    (_, i) => (distilled - Math.floor((i * distilled) / count)) * stride - 1,
  );
  return {
    timesteps,
    startSigma: 1,
    inputScale: () => 1,
    start: (image, noise, index) => addNoise(schedule, image, noise, timesteps[index]!),
    step: (output, index, sample, noise) => {
      const t = timesteps[index]!;
      const found = imageOf(prediction, output, sample, alphas[t]!);
      const scaled = (t * scaling) ** 2 + SIGMA_DATA ** 2;
      const kept = limit === null ? found : clipped(found, limit);
      const image = mix([(t * scaling) / Math.sqrt(scaled), kept], [SIGMA_DATA ** 2 / scaled, sample]);
      const next = timesteps[index + 1];
      return { sample: next === undefined ? image : addNoise(schedule, image, noise(), next), image };
    },
  };
}
