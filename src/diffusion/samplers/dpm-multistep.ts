/**
 * DPM-Solver++ of first and second order (Lu et al. 2022, algorithm 2), and its form that adds noise.
 * Source of options: diffusers `scheduling_dpmsolver_multistep.py`.
 */

import { type RawConfig, readChoice, readFlag, readNumber, readSize, refuseUnless } from "../../models/config.ts";
import { mix } from "../mix.ts";
import { imageOf, readNoiseSchedule } from "../noise-schedule.ts";
import { interpolate, karrasSigmas, placeOf, readSigmaOptions, trainingSigmas } from "../sigmas.ts";
import { linspace, readSpacing, roundHalfEven, trailing } from "../timesteps.ts";
import type { Sampler } from "./sampler.ts";

export function dpmMultistep(raw: RawConfig, count: number): Sampler {
  refuseUnless(raw, "variance_type", []);
  refuseUnless(raw, "use_dynamic_shifting", [false]);
  refuseUnless(raw, "solver_order", [1, 2]);
  const schedule = readNoiseSchedule(raw);
  const options = readSigmaOptions(raw);
  const order = readSize(raw, "solver_order", 2);
  const noisy =
    readChoice(raw, "algorithm_type", ["dpmsolver++", "sde-dpmsolver++"] as const, "dpmsolver++") !== "dpmsolver++";
  const heun = readChoice(raw, "solver_type", ["midpoint", "heun"] as const, "midpoint") === "heun";
  const lowerFinal = readFlag(raw, "lower_order_final", true);
  const eulerFinal = readFlag(raw, "euler_at_final", false);

  const speed = noisy ? 2 : 1; // at which the noise of the sample decays

  const all = trainingSigmas(schedule);
  let timesteps = steps(raw, count, all);
  let sigmas = interpolate(all, timesteps);
  if (options.karras) {
    sigmas = karrasSigmas(options.most ?? all.at(-1)!, options.least ?? all[0]!, count);
    const cosine = raw["beta_schedule"] === "squaredcos_cap_v2";
    timesteps = sigmas.map((sigma) => (cosine ? Math.floor(placeOf(sigma, all)) : roundHalfEven(placeOf(sigma, all))));
  }
  sigmas.push(options.final === "zero" ? 0 : all[0]!);
  // A sample is α·image + σα·noise with α = 1 / √(σ² + 1); λ = ln(α / σα) = −ln σ.
  const alphaAt = (index: number): number => 1 / Math.sqrt(sigmas[index]! ** 2 + 1);
  const lambdaAt = (index: number): number => -Math.log(sigmas[index]!);
  let earlier: { readonly image: Float32Array; readonly index: number } | null = null;

  return {
    timesteps,
    startSigma: 1,
    inputScale: () => 1,
    start: (image, noise, index) => mix([alphaAt(index), image], [alphaAt(index) * sigmas[index]!, noise]),
    step: (output, index, sample, noise) => {
      const image = imageOf(schedule.prediction, output, sample, alphaAt(index) ** 2);
      const last = index === timesteps.length - 1;
      const first =
        order === 1 ||
        earlier === null ||
        (last && (eulerFinal || (lowerFinal && timesteps.length < 15) || options.final === "zero"));
      const h = lambdaAt(index + 1) - lambdaAt(index); // infinite where the last σ is 0
      const [alpha, ratio] = [
        alphaAt(index + 1),
        (alphaAt(index + 1) * sigmas[index + 1]!) / (alphaAt(index) * sigmas[index]!),
      ];
      const decay = Math.exp(-h);
      const weight = alpha * (1 - decay ** speed); // of the image
      const terms: [number, Float32Array][] = [
        [noisy ? ratio * decay : ratio, sample],
        [weight, image],
      ];
      if (!first && earlier) {
        const r = (lambdaAt(index) - lambdaAt(earlier.index)) / h;
        const slope = mix([1 / r, image], [-1 / r, earlier.image]);
        terms.push([heun ? alpha * ((decay ** speed - 1) / (speed * h) + 1) : weight / 2, slope]);
      }
      if (noisy) terms.push([alpha * sigmas[index + 1]! * Math.sqrt(1 - decay ** 2), noise()]);
      earlier = { image, index };
      return { sample: mix(...terms), image };
    },
  };
}

/** One step more than is taken is spaced out, and the last left away. */
function steps(raw: RawConfig, count: number, all: Float64Array): number[] {
  const least = raw["lambda_min_clipped"];
  // Steps so noisy that λ lies below this are left out.
  const total = typeof least === "number" ? all.filter((sigma) => -Math.log(sigma) >= least).length : all.length;
  switch (readSpacing(raw, "linspace")) {
    case "linspace":
      return linspace(0, total - 1, count + 1)
        .map(roundHalfEven)
        .reverse()
        .slice(0, count);
    case "leading": {
      const ratio = Math.floor(total / (count + 1));
      const offset = readNumber(raw, "steps_offset", 0);
      return Array.from({ length: count }, (_, i) => (count - i) * ratio + offset);
    }
    case "trailing":
      return trailing(total, all.length / count);
  }
}
