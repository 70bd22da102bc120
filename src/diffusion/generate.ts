/** Text → images: prompts encoded, noise taken off step by step, latents decoded. */

import { z } from "zod";
import type { ClipTokenizer } from "../data/clip-tokenizer.ts";
import { UsageError } from "../errors.ts";
import type { RgbImage } from "../files/png.ts";
import { pixelsPerLatent } from "../models/autoencoder-kl.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import { type ImageAdapter, type MountedBranches, weighted } from "./adapter.ts";
import { asksTwice, encodeConditions, openDenoiser } from "./denoiser.ts";
import { decodeLatents, encodePicture } from "./latents.ts";
import { mix } from "./mix.ts";
import { noiseOfSeed } from "./noise.ts";
import type { Pipeline } from "./pipeline.ts";
import { type AdapterWeights, unetWeight } from "./prompt.ts";
import { createSampler, withScheduler } from "./scheduler.ts";
import { createSessionPool } from "./session-pool.ts";
import { loadTokenizers } from "./text-encoding.ts";

export const imageOptions: z.ZodType<ImageOptions> = z.strictObject({
  /** Pixels; null is the size that the model was trained at. */
  width: z.int().positive().nullable().default(null),
  height: z.int().positive().nullable().default(null),
  steps: z.int().positive().default(20),
  /** How far predictions are pushed towards the prompt; 1 and below ask the model once a step. */
  guidance: z.number().default(7.5),
  guidanceRescale: z.number().min(0).max(1).default(0),
  /** Another sampler than the model's own. */
  scheduler: z.string().nullable().default(null),
  /** Of the first image; each further one's is 1 more. */
  seed: z.int().nonnegative().default(0),
  count: z.int().positive().default(1),
  /** Share of the steps that an image is changed by. */
  strength: z.number().positive().max(1).default(0.8),
  /** Last layers of the text encoder that are left out; null is the model's own way. */
  clipSkip: z.int().nonnegative().nullable().default(null),
  /** A preview after so many steps; 0 makes none. */
  previewSteps: z.int().nonnegative().default(0),
});

export interface ImageOptions {
  readonly width: number | null;
  readonly height: number | null;
  readonly steps: number;
  readonly guidance: number;
  readonly guidanceRescale: number;
  readonly scheduler: string | null;
  readonly seed: number;
  readonly count: number;
  readonly strength: number;
  readonly clipSkip: number | null;
  readonly previewSteps: number;
}

export const IMAGE_DEFAULTS: ImageOptions = imageOptions.parse({});

export interface WeightedAdapter {
  readonly name: string;
  readonly adapter: ImageAdapter;
  readonly weights: AdapterWeights;
}

export interface ImageRequest extends Partial<ImageOptions> {
  readonly prompt: string;
  /** What the images should not show; null where nothing was said. */
  readonly negativePrompt?: string | null;
  readonly adapters?: readonly WeightedAdapter[];
  /** A picture to start from, of the images' size. */
  readonly image?: RgbImage | null;
  /** Standard normal noise [count, C, h, w] in place of the seed's. */
  readonly latents?: Float32Array | null;
}

export type ImageEvent =
  | {
      readonly event: "step";
      readonly image: number;
      readonly step: number;
      readonly steps: number;
      readonly seconds: number;
    }
  | { readonly event: "preview"; readonly image: number; readonly step: number; readonly picture: RgbImage }
  | {
      readonly event: "image";
      readonly image: number;
      readonly seed: number;
      readonly seconds: number;
      readonly picture: RgbImage;
    };

export interface ImageGenerator {
  generate(request: ImageRequest): AsyncGenerator<ImageEvent, void>;
  close(): Promise<void>;
}

export interface GeneratorOptions extends SessionOptions {
  /** Sessions kept open between runs: 0 gives memory back after each part of an image, for large models. */
  readonly keepSessions?: number;
  /** In place of the pipeline's own. */
  readonly tokenizers?: readonly ClipTokenizer[];
}

/** Throws ModelError where the pipeline lacks a tokenizer. */
export function openImageGenerator(
  pipeline: Pipeline,
  runtime: Runtime,
  { keepSessions = 0, tokenizers = loadTokenizers(pipeline), ...session }: GeneratorOptions,
): ImageGenerator {
  const pool = createSessionPool(runtime, session, keepSessions);
  return {
    close: () => pool.close(),
    generate: async function* ({
      prompt,
      negativePrompt = null,
      adapters = [],
      image = null,
      latents = null,
      ...rest
    }) {
      const options = imageOptions.parse(rest);
      const { steps, guidance, guidanceRescale, seed, count, strength, clipSkip, previewSteps } = options;
      const { h, w } = latentSize(pipeline, options, image);
      const size = pipeline.unet.config.in_channels * h * w;
      if (latents && latents.length !== count * size) {
        throw new UsageError(
          `The latents have ${latents.length} numbers, needed ${count * size}: [${count}, ${pipeline.unet.config.in_channels}, ${h}, ${w}].`,
        );
      }
      const config =
        options.scheduler === null ? pipeline.scheduler : withScheduler(pipeline.scheduler, options.scheduler);
      createSampler(config, steps); // what it refuses is told before any work
      const branches = (component: string): MountedBranches[] => mounted(adapters, component);
      const twice = asksTwice(pipeline, guidance);
      const conditions = await encodeConditions(
        pipeline,
        tokenizers,
        { prompt, negative: negativePrompt, twice },
        { pool, branches, clipSkip },
      );
      const start = image && (await encodePicture(pipeline, pool, image));
      for (let i = 0; i < count; i++) {
        const began = performance.now();
        const sampler = createSampler(config, steps);
        // Counted in the steps asked for, of which some samplers take the first twice.
        const first = start ? steps - Math.max(1, Math.floor(steps * strength)) : 0;
        const noise = latents ? latents.slice(i * size, (i + 1) * size) : noiseOfSeed(seed + i, "start", 0, size);
        let sample = start ? sampler.start(start, noise, first) : mix([sampler.startSigma, noise]);
        const denoiser = await openDenoiser(pipeline, {
          pool,
          branches: branches("unet"),
          h,
          w,
          guidance,
          guidanceRescale,
          conditions,
        });
        for (let index = first; index < sampler.timesteps.length; index++) {
          const stepBegan = performance.now();
          const scaled = mix([sampler.inputScale(index), sample]);
          const output = await denoiser.predict(scaled, sampler.timesteps[index]!);
          const stepped = sampler.step(output, index, sample, () => noiseOfSeed(seed + i, "step", index, size));
          sample = stepped.sample;
          const [step, all] = [index - first + 1, sampler.timesteps.length - first];
          yield { event: "step", image: i, step, steps: all, seconds: (performance.now() - stepBegan) / 1000 };
          if (previewSteps > 0 && step % previewSteps === 0 && step < all) {
            const picture = await decodeLatents(pipeline, pool, stepped.image, [h, w]);
            yield { event: "preview", image: i, step, picture };
          }
        }
        await denoiser.done();
        const picture = await decodeLatents(pipeline, pool, sample, [h, w]);
        yield { event: "image", image: i, seed: seed + i, seconds: (performance.now() - began) / 1000, picture };
      }
    },
  };
}

/** Latent rows and columns. Throws UsageError for a size that is no whole number of them. */
function latentSize(
  { unet, vae }: Pipeline,
  { width, height }: ImageOptions,
  image: RgbImage | null,
): { h: number; w: number } {
  const factor = pixelsPerLatent(vae.config);
  const whole = unet.config.sample_size * factor;
  const usual = image ?? { width: whole, height: whole };
  const size = { width: width ?? usual.width, height: height ?? usual.height };
  for (const [name, pixels] of Object.entries(size)) {
    if (pixels % factor === 0) continue;
    const near = Math.max(1, Math.round(pixels / factor)) * factor;
    throw new UsageError(`${name} ${pixels} is no multiple of ${factor}, the pixels of one latent. Take ${near}.`);
  }
  if (image && (image.width !== size.width || image.height !== size.height)) {
    throw new UsageError(
      `The image has ${image.width} × ${image.height} pixels, needed ${size.width} × ${size.height}.`,
    );
  }
  return { h: size.height / factor, w: size.width / factor };
}

function mounted(adapters: readonly WeightedAdapter[], component: string): MountedBranches[] {
  return adapters.map(({ name, adapter, weights }) => {
    const weight = (module: string): number => (component === "unet" ? unetWeight(weights, module) : weights.text);
    return { prefix: `${name}/`, branches: weighted(adapter.get(component) ?? new Map(), weight) };
  });
}
