import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ImageBranch } from "../../src/diffusion/adapter.ts";
import { readNoiseSchedule } from "../../src/diffusion/noise-schedule.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { createSessionPool } from "../../src/diffusion/session-pool.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { type PassResult, runPass, snrWeight } from "../../src/image-train/denoising.ts";
import { imageTrainOptions } from "../../src/image-train/options.ts";
import { type Trained, trainedBranches } from "../../src/image-train/trained.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import { adamwStep, clipFactor, createMoments, globalNorm } from "../../src/train/adamw.ts";

const STEPS = 4;
const pipeline = openPipeline(join(import.meta.dirname, "../diffusion/pipelines/sd1"));
const expected: ReadonlyMap<string, Tensor> = readTensors(
  openSafetensors(join(import.meta.dirname, "steps.safetensors")),
);
const pool = createSessionPool(nodeRuntime, { threads: 1 }, 4);
const options = imageTrainOptions({ model: "", data: "", out: "", weightDecay: 0.01 });
afterAll(() => pool.close());

const numbers = (name: string): Float32Array => expected.get(name)!.data as Float32Array;

/** The adapter that the fixture starts from: rank 3, α 6. */
function start(): Trained {
  const adapter = new Map<string, Map<string, ImageBranch>>();
  for (const [name, tensor] of expected) {
    const [, component, module] = /^start\.(unet|text_encoder)\.(.*)\.lora_A\.weight$/.exec(name) ?? [];
    if (!component || !module) continue;
    const copy = ({ shape, data }: Tensor): FloatTensor => floatTensor(shape, (data as Float32Array).slice());
    const B = copy(expected.get(name.replace("lora_A", "lora_B"))!);
    const branches = adapter.get(component) ?? new Map<string, ImageBranch>();
    adapter.set(component, branches.set(module, { A: copy(tensor), B, scale: 2 }));
  }
  return trainedBranches(pipeline, options, adapter);
}

function pass(trained: Trained, step: number): Promise<PassResult> {
  const schedule = readNoiseSchedule(pipeline.scheduler);
  const [latents, noise] = [numbers(`step${step}.latents`), numbers(`step${step}.noise`)];
  const times = Array.from(expected.get(`step${step}.t`)!.data, Number);
  const ids = Int32Array.from(expected.get(`step${step}.ids`)!.data as Int32Array);
  const [B, size, T] = [times.length, latents.length / times.length, ids.length / times.length];
  const images = times.map((t, i) => ({
    latents: latents.slice(i * size, (i + 1) * size),
    noise: noise.slice(i * size, (i + 1) * size),
    t,
    ids: ids.slice(i * T, (i + 1) * T),
    weight: snrWeight(schedule, t, 5) / B,
  }));
  return runPass(pipeline, trained, images, { pool, schedule, h: 8, w: 8, gradients: true });
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.hypot(...a.map((value, i) => value - b[i]!));
}

const losses: number[] = [];
const norms: number[] = [];
let first: PassResult;
let trained: Trained;

beforeAll(async () => {
  trained = start();
  const moments = createMoments(trained.parameters);
  for (let step = 0; step < STEPS; step++) {
    const result = await pass(trained, step);
    if (step === 0) first = result;
    const norm = globalNorm(result.gradients);
    losses.push(result.loss);
    norms.push(norm);
    adamwStep(trained.parameters, result.gradients, moments, options, {
      step: step + 1,
      learningRate: 0.01,
      factor: clipFactor(norm, 0.1),
      rateOf: (key) => (key.startsWith("text_encoder") ? 0.2 : 1),
    });
  }
});

test("losses and gradient norms of each step are PyTorch's", () => {
  for (let step = 0; step < STEPS; step++) {
    expect(Math.abs(losses[step]! / numbers("loss")[step]! - 1)).toBeLessThan(2e-5);
    expect(Math.abs(norms[step]! / numbers("norm")[step]! - 1)).toBeLessThan(1e-4);
  }
});

test("every gradient of UNet, convolutions and text encoder is PEFT's", () => {
  const names = [...expected.keys()].filter((name) => name.startsWith("gradient."));
  expect(names.length).toBeGreaterThan(60);
  for (const name of names) {
    const theirs = numbers(name);
    const ours = first.gradients.get(name.slice("gradient.".length))!;
    const largest = theirs.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const off = ours.reduce((a, b, i) => Math.max(a, Math.abs(b - theirs[i]!)), 0);
    expect(off / largest, name).toBeLessThan(1e-4);
  }
});

test("trained tensors after the steps are PyTorch's", () => {
  for (const [key, { data }] of trained.parameters) {
    const moved = distance(numbers(`end.${key}`), numbers(`start.${key}`));
    expect(distance(data, numbers(`end.${key}`)) / moved, key).toBeLessThan(2e-3);
  }
});
