/** DDIM without added noise (Song et al. 2021, equation 12). Source of options: diffusers `scheduling_ddim.py`. */

import { type RawConfig, readFlag, readNumber } from "../../models/config.ts";
import { clipped, mix } from "../mix.ts";
import { addNoise, imageOf, noiseOf, readNoiseSchedule } from "../noise-schedule.ts";
import { readSpacing, roundHalfEven, spacedSteps } from "../timesteps.ts";
import type { Sampler } from "./sampler.ts";

export function ddim(raw: RawConfig, count: number): Sampler {
  const schedule = readNoiseSchedule(raw);
  const { alphas, steps: total, prediction } = schedule;
  const limit = readFlag(raw, "clip_sample", true) ? readNumber(raw, "clip_sample_range", 1) : null;
  const last = readFlag(raw, "set_alpha_to_one", true) ? 1 : alphas[0]!;
  const offset = readNumber(raw, "steps_offset", 0);
  const timesteps = spacedSteps(readSpacing(raw, "leading"), { count, total, offset }).map(roundHalfEven);
  return {
    timesteps,
    startSigma: 1,
    inputScale: () => 1,
    start: (image, noise, index) => addNoise(schedule, image, noise, timesteps[index]!),
    step: (output, index, sample) => {
      const t = timesteps[index]!;
      const before = t - Math.floor(total / count);
      const [alpha, next] = [alphas[t]!, before >= 0 ? alphas[before]! : last];
      const found = imageOf(prediction, output, sample, alpha);
      const image = limit === null ? found : clipped(found, limit);
      const noise = noiseOf(prediction, output, sample, alpha);
      return { sample: mix([Math.sqrt(next), image], [Math.sqrt(1 - next), noise]), image };
    },
  };
}
