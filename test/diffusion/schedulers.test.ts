/** Every sampler, in every option that is read, against diffusers: make_schedulers.py says how its numbers were made. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { mix } from "../../src/diffusion/mix.ts";
import { createSampler, SCHEDULER_NAMES, withScheduler } from "../../src/diffusion/scheduler.ts";
import { ModelError, UsageError } from "../../src/errors.ts";

interface Case {
  readonly config: Readonly<Record<string, unknown>>;
  readonly steps: number;
  readonly timesteps: readonly number[];
  readonly start: readonly number[];
  readonly samples: readonly (readonly number[])[];
}

const file = fileURLToPath(new URL("schedulers.json", import.meta.url));
const cases = Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, Case>);

/** From a σ of 4096 on, the reference's float32 subtracts large numbers of each other. */
const SMALL_DIFFERENCES = 5e-5;

const START = Float32Array.of(0.7, -1.3, 2.1, 0.2);

describe("samples follow diffusers' within 1e-5", () => {
  test.each(cases)("%s", (_name, { config, steps, timesteps, start, samples }) => {
    const sampler = createSampler(config, steps);
    expect(sampler.timesteps.length).toBe(timesteps.length);
    sampler.timesteps.forEach((t, i) => {
      expect(t).toBeCloseTo(timesteps[i]!, 3);
    });
    let x = mix([sampler.startSigma, START]);
    expectNear(x, start);
    let drawn = 0;
    const noise = (): Float32Array => {
      drawn++;
      return Float32Array.from({ length: 4 }, (_, i) => Math.cos(drawn * (i + 1)));
    };
    sampler.timesteps.forEach((t, index) => {
      const wave = 0.1 * Math.sin(t / 100);
      const output = mix([0.3 * sampler.inputScale(index), x]).map((value) => value + wave);
      x = sampler.step(output, index, x, noise).sample;
      expectNear(x, samples[index]!, config["rescale_betas_zero_snr"] ? SMALL_DIFFERENCES : 1e-5);
    });
  });
});

test("image to image starts with the noise of its first step", () => {
  const image = Float32Array.of(0.5, -0.5, 1, 0);
  for (const name of SCHEDULER_NAMES) {
    const sampler = createSampler(withScheduler({ prediction_type: "epsilon" }, name), 8);
    // A model that knows the noise finds the image again from wherever it starts.
    let x = sampler.start(image, START, 3);
    for (let index = 3; index < sampler.timesteps.length; index++) {
      const scaled = mix([sampler.inputScale(index), x]);
      const noise = mix(
        [1, sampler.start(image, START, index)],
        [-1, sampler.start(image, new Float32Array(4), index)],
      );
      expect(scaled.every(Number.isFinite), name).toBe(true);
      expect(Math.hypot(...noise), name).toBeGreaterThan(0);
      x = sampler.step(START, index, x, () => new Float32Array(4)).sample;
    }
    if (!/ancestral|sde|lcm|ddpm/.test(name)) expectNear(x, image, 0.12, name);
  }
});

test("what is not known is refused by name", () => {
  expect(() => createSampler({ _class_name: "UniPCMultistepScheduler" }, 4)).toThrow(ModelError);
  expect(() => createSampler({ _class_name: "toString" }, 4)).toThrow("toString");
  expect(() => withScheduler({}, "uni")).toThrow(UsageError);
  const refused = [
    [{ _class_name: "DDIMScheduler", thresholding: true }, "thresholding"],
    [{ _class_name: "EulerDiscreteScheduler", use_beta_sigmas: true }, "use_beta_sigmas"],
    [{ _class_name: "PNDMScheduler" }, "skip_prk_steps"],
    [{ _class_name: "DPMSolverMultistepScheduler", solver_order: 3 }, "solver_order"],
    [{ _class_name: "DDIMScheduler", beta_schedule: "sigmoid" }, "beta_schedule"],
    [{ _class_name: "DDIMScheduler", trained_betas: [0.1] }, "trained_betas"],
  ] as const;
  for (const [config, field] of refused) expect(() => createSampler(config, 4)).toThrow(field);
  expect(() => createSampler({ _class_name: "LCMScheduler" }, 60)).toThrow("steps 60");
  expect(() => createSampler({ _class_name: "DDIMScheduler" }, 1001)).toThrow("steps 1001");
});

function expectNear(found: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = 1e-5, name = ""): void {
  const largest = Math.max(1, ...Array.from(wanted, Math.abs));
  Array.from(wanted).forEach((value, i) => {
    expect(Math.abs(found[i]! - value), `${name} element ${i}: ${found[i]} and ${value}`).toBeLessThanOrEqual(
      tolerance * largest,
    );
  });
}
