/**
 * One pass of diffusion training: noisy latents through the text encoder and the UNet, the loss, and the gradients of
 * what is trained. The two models are sessions of their own; the loss's gradient by the text crosses between them.
 */

import { gradient } from "../autodiff/gradient.ts";
import { unetInputs } from "../diffusion/component.ts";
import { addNoise, type NoiseSchedule, velocity } from "../diffusion/noise-schedule.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import type { SessionPool } from "../diffusion/session-pool.ts";
import { textInputs } from "../diffusion/text-layout.ts";
import { input, type Value } from "../graph/graph.ts";
import { mul, sub } from "../graph/ops/arithmetic.ts";
import { reduceSum, reshape } from "../graph/ops/broadcast.ts";
import { reduceMean } from "../graph/ops/reduce.ts";
import { clipText } from "../models/clip-text.ts";
import { createStream } from "../models/stream.ts";
import { timeFeatures, unet } from "../models/unet.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import type { Trained } from "./trained.ts";

/** One image of a pass. */
export interface Noised {
  /** Latents without noise, and the noise, [C, h, w] each. */
  readonly latents: Float32Array;
  readonly noise: Float32Array;
  /** Step of training, from 0. */
  readonly t: number;
  readonly ids: Int32Array;
  /** Factor on its mean squared error. */
  readonly weight: number;
}

export interface PassResult {
  /** Σ weight · mean squared error. */
  readonly loss: number;
  /** By the trained tensors' names; empty when none were asked for. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

export interface PassOptions {
  readonly pool: SessionPool;
  readonly schedule: NoiseSchedule;
  /** Latent rows and columns of the images. */
  readonly h: number;
  readonly w: number;
  readonly gradients: boolean;
}

export async function runPass(
  pipeline: Pipeline,
  trained: Trained,
  images: readonly Noised[],
  options: PassOptions,
): Promise<PassResult> {
  const text = await encodeTexts(pipeline, trained, images, options.pool);
  const results = await denoise(pipeline, trained, images, text.hidden, options);
  const found = new Map<string, Float32Array>();
  const take = (tensors: ReadonlyMap<string, Tensor>): void => {
    for (const [name, { data }] of tensors) {
      if (name.startsWith("grad.") && name !== "grad.context") found.set(name.slice(5), data as Float32Array);
    }
  };
  take(results);
  const seed = results.get("grad.context");
  if (seed) take(await text.backward(seed));
  return { loss: (results.get("loss")!.data as Float32Array)[0]!, gradients: found };
}

interface EncodedTexts {
  /** [B, T, X] */
  readonly hidden: FloatTensor;
  /** Gradients of the text encoder's trained tensors, given the loss's by `hidden`. */
  backward(seed: Tensor): Promise<ReadonlyMap<string, Tensor>>;
}

async function encodeTexts(
  pipeline: Pipeline,
  trained: Trained,
  images: readonly Noised[],
  pool: SessionPool,
): Promise<EncodedTexts> {
  const encoder = pipeline.textEncoders[0]!;
  const { component, config } = encoder;
  const [B, T] = [images.length, images[0]!.ids.length];
  const stream = createStream(B, T);
  const { weights, tensors, parameters } = trained.mount(component, stream);
  const ids = new Int32Array(B * T);
  images.forEach((image, i) => {
    ids.set(image.ids, i * T);
  });
  const inputs = new Map<string, Tensor>([...textInputs(stream, config, ids), ...tensors]);
  const build = (seeded: boolean) => (): ReadonlyMap<string, Value> => {
    const { last } = clipText(weights, config, stream);
    if (!seeded) return new Map([["hidden", reshape(last, [B, T, config.hidden_size])]]);
    return gradientsOf(last, parameters, input("seed", "f32", last.shape));
  };
  const session = await pool.open(`${component} ${B} ${T}`, build(false));
  const hidden = (await session.run(inputs)).get("hidden") as FloatTensor;
  await session.done();
  return {
    hidden,
    backward: async (seed) => {
      const backwards = await pool.open(`${component} ${B} ${T} backward`, build(true));
      const shape = [B * T, config.hidden_size];
      const results = await backwards.run(new Map([...inputs, ["seed", { ...seed, shape }]]));
      await backwards.done();
      return results;
    },
  };
}

async function denoise(
  { unet: { config }, textEncoders }: Pipeline,
  trained: Trained,
  images: readonly Noised[],
  hidden: FloatTensor,
  { pool, schedule, h, w, gradients }: PassOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const [B, M] = [images.length, hidden.shape[1]!];
  const { weights, tensors, parameters } = trained.mount("unet", createStream(1, 1));
  const { component } = textEncoders[0]!;
  const throughText = [...trained.parameters.keys()].some((key) => key.startsWith(`${component}.`));
  const session = await pool.open(`unet ${B} ${h} ${w} ${M} ${gradients}`, () => {
    const inputs = unetInputs(config, { B, H: h, W: w, M }, { trainableContext: throughText });
    const output = unet(weights, config, inputs);
    const difference = sub(output, input("target", "f32", output.shape));
    const errors = reshape(reduceMean(mul(difference, difference), [1, 2, 3]), [B]);
    const loss = reshape(reduceSum(mul(errors, input("weight", "f32", [B])), [0]), []);
    const targets = new Map([...parameters, ...(throughText ? ([["context", inputs.context]] as const) : [])]);
    return new Map([["loss", loss], ...(gradients ? gradientsOf(loss, targets) : [])]);
  });
  const size = images[0]!.latents.length;
  const sample = floatTensor([B, config.in_channels, h, w]);
  const target = floatTensor([B, config.out_channels, h, w]);
  images.forEach(({ latents, noise, t }, i) => {
    sample.data.set(addNoise(schedule, latents, noise, t), i * size);
    target.data.set(targetOf(schedule, latents, noise, t), i * size);
  });
  const width = config.block_out_channels[0]!;
  const steps = images.map(({ t }) => t);
  const results = await session.run(
    new Map<string, Tensor>([
      ["sample", sample],
      ["target", target],
      ["time", floatTensor([B, width], timeFeatures(steps, width, config))],
      ["context", hidden],
      [
        "weight",
        floatTensor(
          [B],
          Float32Array.from(images, ({ weight }) => weight),
        ),
      ],
      ...tensors,
    ]),
  );
  await session.done();
  return results;
}

/** What the model is to say of an image with noise: the noise, the velocity, or the image. */
function targetOf(schedule: NoiseSchedule, latents: Float32Array, noise: Float32Array, t: number): Float32Array {
  switch (schedule.prediction) {
    case "epsilon":
      return noise;
    case "v_prediction":
      return velocity(schedule, latents, noise, t);
    case "sample":
      return latents;
  }
}

/** `grad.NAME` for each of `targets`; zeros where the value does not depend on one. */
export function gradientsOf(value: Value, targets: ReadonlyMap<string, Value>, seed?: Value): Map<string, Value> {
  const names = [...targets.keys()];
  const outputs = new Map<string, Value>();
  gradient(value, [...targets.values()], seed).forEach((dy, i) => {
    if (dy) outputs.set(`grad.${names[i]}`, dy);
  });
  return outputs;
}

/**
 * Factor on the loss at a step by min-SNR-γ (Hang et al. 2023): min(SNR, γ) / SNR for noise, over SNR + 1 for velocity.
 */
export function snrWeight({ alphas, prediction }: NoiseSchedule, t: number, gamma: number | null): number {
  if (gamma === null) return 1;
  const snr = alphas[t]! / (1 - alphas[t]!);
  const capped = Math.min(snr, gamma);
  if (prediction === "sample") return capped;
  return prediction === "epsilon" ? (snr === 0 ? 1 : capped / snr) : capped / (snr + 1);
}
