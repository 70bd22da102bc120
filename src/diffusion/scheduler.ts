/** Samplers by the names of diffusers' classes and by those that users give. */

import { ModelError, UsageError } from "../errors.ts";
import type { RawConfig } from "../models/config.ts";
import { ddim } from "./samplers/ddim.ts";
import { ddpm } from "./samplers/ddpm.ts";
import { dpmMultistep } from "./samplers/dpm-multistep.ts";
import { euler, eulerAncestral } from "./samplers/euler.ts";
import { lcm } from "./samplers/lcm.ts";
import { pndm } from "./samplers/pndm.ts";
import type { Sampler } from "./samplers/sampler.ts";

type Build = (raw: RawConfig, count: number) => Sampler;

const CLASSES: Readonly<Record<string, Build>> = {
  DDIMScheduler: ddim,
  DDPMScheduler: ddpm,
  DPMSolverMultistepScheduler: dpmMultistep,
  EulerAncestralDiscreteScheduler: eulerAncestral,
  EulerDiscreteScheduler: euler,
  LCMScheduler: lcm,
  PNDMScheduler: pndm,
};

/** A class, and fields that a user's name stands for beside the model's own. */
const NAMES: Readonly<Record<string, RawConfig>> = {
  ddim: { _class_name: "DDIMScheduler" },
  ddpm: { _class_name: "DDPMScheduler" },
  "dpm++2m": { _class_name: "DPMSolverMultistepScheduler", use_karras_sigmas: false },
  "dpm++2m-karras": { _class_name: "DPMSolverMultistepScheduler", use_karras_sigmas: true },
  "dpm++2m-sde": { _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++" },
  euler: { _class_name: "EulerDiscreteScheduler", use_karras_sigmas: false },
  "euler-karras": { _class_name: "EulerDiscreteScheduler", use_karras_sigmas: true },
  "euler-ancestral": { _class_name: "EulerAncestralDiscreteScheduler" },
  lcm: { _class_name: "LCMScheduler" },
  pndm: { _class_name: "PNDMScheduler", skip_prk_steps: true },
};

export const SCHEDULER_NAMES: readonly string[] = Object.keys(NAMES);

/** scheduler_config.json with another sampler in its place: noise schedule and prediction stay the model's. */
export function withScheduler(raw: RawConfig, name: string): RawConfig {
  const chosen = NAMES[name];
  if (chosen) return { ...raw, ...chosen };
  throw new UsageError(`--scheduler ${name} is not known. Known: ${SCHEDULER_NAMES.join(", ")}.`);
}

/**
 * The sampler that a scheduler_config.json describes, for `count` steps. Throws ModelError for a class that is not known.
 */
export function createSampler(raw: RawConfig, count: number): Sampler {
  const name = raw["_class_name"];
  const build = typeof name === "string" && Object.hasOwn(CLASSES, name) ? CLASSES[name] : undefined;
  if (build) return build(raw, count);
  throw new ModelError(
    `scheduler_config.json: _class_name ${JSON.stringify(name ?? null)} is not known. Known: ${Object.keys(CLASSES).join(", ")}. Name another with --scheduler.`,
  );
}
