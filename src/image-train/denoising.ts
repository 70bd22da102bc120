/**
 * One pass of diffusion training: noisy latents and texts through the UNet, the loss, and the gradients of what is trained.
 * Texts are encoded by models of their own (texts.ts).
 */

import { addedFeatures, type ImageSizes } from "../diffusion/added-features.ts";
import { unetInputs } from "../diffusion/component.ts";
import { addNoise, type NoiseSchedule, velocity } from "../diffusion/noise-schedule.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import type { SessionPool } from "../diffusion/session-pool.ts";
import { input } from "../graph/graph.ts";
import { mul, sub } from "../graph/ops/arithmetic.ts";
import { reduceSum, reshape } from "../graph/ops/broadcast.ts";
import { reduceMean } from "../graph/ops/reduce.ts";
import { createStream } from "../models/stream.ts";
import { timeFeatures, unet } from "../models/unet.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import { gradientsOf, type TextIds, type TextSource, type TextStates, textGradients, trainsTexts } from "./texts.ts";
import type { Trained } from "./trained.ts";

/** One image of a pass. */
export interface Noised {
  /** Latents without noise, and the noise, [C, h, w] each. */
  readonly latents: Float32Array;
  readonly noise: Float32Array;
  /** Step of training, from 0. */
  readonly t: number;
  /** Its text for each text encoder. */
  readonly ids: TextIds;
  /** What Stable Diffusion XL is told of its size. */
  readonly sizes: ImageSizes;
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
  readonly texts: TextSource;
  readonly schedule: NoiseSchedule;
  /** Latent rows and columns of the images. */
  readonly h: number;
  readonly w: number;
  readonly gradients: boolean;
}

/**
 * The images' losses and, where they are asked for, every gradient. The loss's gradient by what the UNet read of the texts
 * goes back through the text encoders that are trained.
 */
export async function runPass(
  pipeline: Pipeline,
  trained: Trained,
  images: readonly Noised[],
  options: PassOptions,
): Promise<PassResult> {
  const texts = images.map(({ ids }) => ids);
  const text = await options.texts.encode(texts, options.pool);
  const results = await denoise(pipeline, trained, images, text, options);
  const found = new Map<string, Float32Array>();
  const take = (tensors: ReadonlyMap<string, Tensor>): void => {
    for (const [name, { data }] of tensors) {
      if (name.startsWith("grad.unet.") || name.startsWith("grad.text_encoder")) {
        found.set(name.slice(5), data as Float32Array);
      }
    }
  };
  take(results);
  const context = results.get("grad.context") as FloatTensor | undefined;
  if (context) {
    const added = results.get("grad.added") as FloatTensor | undefined;
    const seeds = { context, pooled: added && text.pooled ? firstColumns(added, text.pooled.shape[1]!) : null };
    take(await textGradients(pipeline, trained, texts, seeds, options.pool));
  }
  return { loss: (results.get("loss")!.data as Float32Array)[0]!, gradients: found };
}

async function denoise(
  pipeline: Pipeline,
  trained: Trained,
  images: readonly Noised[],
  text: TextStates,
  { pool, schedule, h, w, gradients }: PassOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const { config } = pipeline.unet;
  const [B, M] = [images.length, text.context.shape[1]!];
  const { weights, tensors, parameters } = trained.mount("unet", createStream(1, 1));
  const throughText = trainsTexts(pipeline, trained);
  const session = await pool.open(`unet ${B} ${h} ${w} ${M} ${gradients}`, () => {
    const inputs = unetInputs(config, { B, H: h, W: w, M }, { trainableContext: throughText });
    const output = unet(weights, config, inputs);
    const difference = sub(output, input("target", "f32", output.shape));
    const errors = reshape(reduceMean(mul(difference, difference), [1, 2, 3]), [B]);
    const loss = reshape(reduceSum(mul(errors, input("weight", "f32", [B])), [0]), []);
    const read = { context: inputs.context, ...(inputs.added ? { added: inputs.added } : {}) };
    const targets = new Map([...parameters, ...(throughText ? Object.entries(read) : [])]);
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
  const time = timeFeatures(
    images.map(({ t }) => t),
    width,
    config,
  );
  const sizes = images.map((image) => image.sizes);
  const added = addedFeatures(pipeline, text.pooled, sizes);
  const weight = Float32Array.from(images, (image) => image.weight);
  const feeds = new Map<string, Tensor>([
    ["sample", sample],
    ["target", target],
    ["time", floatTensor([B, width], time)],
    ["context", text.context],
    ["weight", floatTensor([B], weight)],
    ...(added ? ([["added", added]] as const) : []),
    ...tensors,
  ]);
  const results = await session.run(feeds);
  await session.done();
  return results;
}

function firstColumns({ shape: [B = 0, width = 0], data }: FloatTensor, count: number): FloatTensor {
  const part = floatTensor([B, count]);
  for (let row = 0; row < B; row++) part.data.set(data.subarray(row * width, row * width + count), row * count);
  return part;
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
