/**
 * Pseudo linear multistep (Liu et al. 2022), the default of Stable Diffusion 1, without Runge-Kutta steps first. The first
 * step is taken twice: from its result to the mean of both slopes. Source of options: diffusers `scheduling_pndm.py`.
 */

import { type RawConfig, readFlag, readNumber, refuseUnless } from "../../models/config.ts";
import { mix } from "../mix.ts";
import { addNoise, imageOf, noiseOf, readNoiseSchedule } from "../noise-schedule.ts";
import { readSpacing, roundHalfEven, spacedSteps } from "../timesteps.ts";
import type { Sampler } from "./sampler.ts";

export function pndm(raw: RawConfig, count: number): Sampler {
  // Without the flag every step begins with Runge-Kutta ones, which Stable Diffusion's files all leave out.
  refuseUnless({ skip_prk_steps: readFlag(raw, "skip_prk_steps", false) }, "skip_prk_steps", [true]);
  const schedule = readNoiseSchedule(raw);
  const { alphas, steps: total, prediction } = schedule;
  const last = readFlag(raw, "set_alpha_to_one", false) ? 1 : alphas[0]!;
  const offset = readNumber(raw, "steps_offset", 0);
  const plain = spacedSteps(readSpacing(raw, "leading"), { count, total, offset }).map(roundHalfEven);
  const timesteps = [...plain.slice(0, 1), ...plain.slice(1, 2), ...plain.slice(1)];
  const stride = Math.floor(total / count);
  let slopes: readonly Float32Array[] = []; // newest first
  let held: Float32Array | null = null; // the sample that the first step began with
  let done = 0;

  /** Equation 9: from t to `to` along a slope. */
  const move = (sample: Float32Array, t: number, to: number, slope: Float32Array): Float32Array => {
    const [alpha, next] = [alphas[t]!, to >= 0 ? alphas[to]! : last];
    const noise = noiseOf(prediction, slope, sample, alpha);
    const divisor = alpha * Math.sqrt(1 - next) + Math.sqrt(alpha * (1 - alpha) * next);
    return mix([Math.sqrt(next / alpha), sample], [-(next - alpha) / divisor, noise]);
  };

  return {
    timesteps,
    startSigma: 1,
    inputScale: () => 1,
    start: (image, noise, index) => addNoise(schedule, image, noise, timesteps[index]!),
    step: (output, index, sample) => {
      const t = timesteps[index]!;
      const image = imageOf(prediction, output, sample, alphas[t]!);
      const again = done++ === 1;
      if (again) {
        const slope = mix([0.5, output], [0.5, slopes[0]!]);
        return { sample: move(held!, t + stride, t, slope), image };
      }
      if (done === 1) held = sample;
      slopes = [output, ...slopes].slice(0, 4);
      return { sample: move(sample, t, t - stride, multistep(slopes)), image };
    },
  };
}

/** Adams and Bashforth's formulas of order 1 to 4. */
function multistep(slopes: readonly Float32Array[]): Float32Array {
  const factors = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];
  return mix(...factors[slopes.length - 1]!.map((factor, i) => [factor, slopes[i]!] as const));
}
