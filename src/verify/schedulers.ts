/**
 * Reference cases of schedulers: JSON files with a configuration and `num_inference_steps` each, whose samples start from
 * NAME.init_noise and follow the pseudo-model e(x, t) = 0.3 x + 0.1 sin(t / 100); and noising by DDPM's training steps.
 */

import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { mix } from "../diffusion/mix.ts";
import { addNoise, readNoiseSchedule, velocity } from "../diffusion/noise-schedule.ts";
import { createSampler } from "../diffusion/scheduler.ts";
import { ModelError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { readSize } from "../models/config.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { floatTensor, type Tensor } from "../tensor/tensor.ts";

/** The schedule that `add_noise` is computed with: Stable Diffusion's. */
const TRAINING = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };

/** Configuration files of a folder of scheduler cases; none in other folders. */
export function schedulerFiles(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json") && "_class_name" in readJsonObject(join(folder, file)))
    .toSorted();
}

/** Every tensor of the case, computed from the inputs among the `expected` ones. */
export function computeSchedules(folder: string, expected: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const ours = new Map<string, Tensor>();
  for (const file of schedulerFiles(folder)) {
    for (const [name, tensor] of samples(basename(file, ".json"), join(folder, file), expected)) ours.set(name, tensor);
  }
  const given = ["x0", "noise", "t"].map((name) => expected.get(`add_noise.${name}`));
  const [x, noise, steps] = given;
  if (!x || !noise || !steps) return ours;
  ["x0", "noise", "t"].forEach((name, i) => {
    ours.set(`add_noise.${name}`, given[i]!);
  });
  const schedule = readNoiseSchedule(TRAINING);
  const size = x.data.length / steps.data.length;
  for (const [name, rule] of [
    ["out", addNoise],
    ["velocity", velocity],
  ] as const) {
    const all = floatTensor(x.shape);
    Array.from(steps.data, Number).forEach((t, i) => {
      const part = (tensor: Tensor): Float32Array => toFloat32(tensor).subarray(i * size, (i + 1) * size);
      all.data.set(rule(schedule, part(x), part(noise), t), i * size);
    });
    ours.set(`add_noise.${name}`, all);
  }
  return ours;
}

function samples(name: string, path: string, expected: ReadonlyMap<string, Tensor>): [string, Tensor][] {
  const noise = expected.get(`${name}.init_noise`);
  if (!noise) throw new ModelError(`${path}: expected.safetensors lacks the input ${name}.init_noise.`);
  const raw = readJsonObject(path);
  const sampler = createSampler(raw, readSize(raw, "num_inference_steps"));
  const { timesteps } = sampler;
  const found: [string, Tensor][] = [
    [`${name}.init_noise`, noise],
    [`${name}.timesteps`, floatTensor([timesteps.length], Float32Array.from(timesteps))],
  ];
  let x = mix([sampler.startSigma, toFloat32(noise)]);
  const none = (): never => {
    throw new ModelError(`${path}: ${raw["_class_name"]} draws noise, which no reference case can fix.`);
  };
  timesteps.forEach((t, index) => {
    const wave = 0.1 * Math.sin(t / 100);
    const output = mix([0.3 * sampler.inputScale(index), x]).map((value) => value + wave);
    x = sampler.step(output, index, x, none).sample;
    found.push([`${name}.step${String(index).padStart(2, "0")}`, floatTensor(noise.shape, x)]);
  });
  return found;
}
