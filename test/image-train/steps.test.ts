import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImageBranch } from "../../src/diffusion/adapter.ts";
import type { ImageSizes } from "../../src/diffusion/added-features.ts";
import { readNoiseSchedule } from "../../src/diffusion/noise-schedule.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { createSessionPool } from "../../src/diffusion/session-pool.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { type PassResult, runPass, snrWeight } from "../../src/image-train/denoising.ts";
import { imageTrainOptions } from "../../src/image-train/options.ts";
import { textSource } from "../../src/image-train/texts.ts";
import { type Trained, trainedBranches } from "../../src/image-train/trained.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import { adamwStep, clipFactor, createMoments, globalNorm } from "../../src/train/adamw.ts";

const STEPS = 4;
const options = imageTrainOptions({ model: "", data: "", out: "", weightDecay: 0.01 });
const pool = createSessionPool(nodeRuntime, { threads: 1 }, 6);
afterAll(() => pool.close());

function distance(a: Float32Array, b: Float32Array): number {
  return Math.hypot(...a.map((value, i) => value - b[i]!));
}

describe.each(["sd1", "xl"])("%s", (name) => {
  const pipeline = openPipeline(join(import.meta.dirname, "../diffusion/pipelines", name));
  const expected: ReadonlyMap<string, Tensor> = readTensors(
    openSafetensors(join(import.meta.dirname, `steps-${name}.safetensors`)),
  );
  const numbers = (key: string): Float32Array => expected.get(key)!.data as Float32Array;
  const integers = (key: string): number[] => Array.from(expected.get(key)?.data ?? [], Number);

  /** The adapter that the fixture starts from: rank 3, α 6. */
  function start(): Trained {
    const adapter = new Map<string, Map<string, ImageBranch>>();
    for (const [key, tensor] of expected) {
      const [, component, module] = /^start\.(unet|text_encoder(?:_2)?)\.(.*)\.lora_A\.weight$/.exec(key) ?? [];
      if (!component || !module) continue;
      const copy = ({ shape, data }: Tensor): FloatTensor => floatTensor(shape, (data as Float32Array).slice());
      const B = copy(expected.get(key.replace("lora_A", "lora_B"))!);
      const branches = adapter.get(component) ?? new Map<string, ImageBranch>();
      adapter.set(component, branches.set(module, { A: copy(tensor), B, scale: 2 }));
    }
    return trainedBranches(pipeline, options, adapter);
  }

  function pass(trained: Trained, step: number): Promise<PassResult> {
    const schedule = readNoiseSchedule(pipeline.scheduler);
    const [latents, noise] = [numbers(`step${step}.latents`), numbers(`step${step}.noise`)];
    const times = integers(`step${step}.t`);
    const texts = ["ids", "ids_2"].slice(0, pipeline.textEncoders.length);
    const part = <T>(all: ArrayLike<T>, i: number): T[] => {
      const own = all.length / times.length;
      return Array.from(all).slice(i * own, (i + 1) * own);
    };
    const images = times.map((t, i) => ({
      latents: Float32Array.from(part(latents, i)),
      noise: Float32Array.from(part(noise, i)),
      t,
      ids: texts.map((each) => Int32Array.from(part(integers(`step${step}.${each}`), i))),
      sizes: part(integers(`step${step}.sizes`), i) as unknown as ImageSizes,
      weight: snrWeight(schedule, t, 5) / times.length,
    }));
    const from = textSource(pipeline, trained);
    return runPass(pipeline, trained, images, { pool, texts: from, schedule, h: 8, w: 8, gradients: true });
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
  afterAll(() => pool.close());

  test("losses and gradient norms of each step are PyTorch's", () => {
    for (let step = 0; step < STEPS; step++) {
      expect(Math.abs(losses[step]! / numbers("loss")[step]! - 1)).toBeLessThan(2e-5);
      expect(Math.abs(norms[step]! / numbers("norm")[step]! - 1)).toBeLessThan(1e-4);
    }
  });

  test("every gradient of UNet, convolutions and text encoders is PEFT's", () => {
    const keys = [...expected.keys()].filter((key) => key.startsWith("gradient."));
    expect(keys.length).toBeGreaterThan(60);
    expect(new Set(first.gradients.keys())).toEqual(new Set(keys.map((key) => key.slice("gradient.".length))));
    for (const key of keys) {
      const theirs = numbers(key);
      const ours = first.gradients.get(key.slice("gradient.".length))!;
      const largest = theirs.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const off = ours.reduce((a, b, i) => Math.max(a, Math.abs(b - theirs[i]!)), 0);
      expect(off / largest, key).toBeLessThan(1e-4);
    }
  });

  test("trained tensors after the steps are PyTorch's", () => {
    for (const [key, { data }] of trained.parameters) {
      const moved = distance(numbers(`end.${key}`), numbers(`start.${key}`));
      const off = distance(data, numbers(`end.${key}`));
      if (moved === 0) expect(off, key).toBe(0);
      else expect(off / moved, key).toBeLessThan(2e-3);
    }
  });
});
