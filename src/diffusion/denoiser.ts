/** The UNet as sampling calls it: one session, two predictions a step where guidance is on. */

import type { ClipTokenizer } from "../data/clip-tokenizer.ts";
import { ModelError } from "../errors.ts";
import { pixelsPerLatent } from "../models/autoencoder-kl.ts";
import { createStream } from "../models/stream.ts";
import { timeFeatures, unet } from "../models/unet.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import { type MountedBranches, mountBranches } from "./adapter.ts";
import { addedFeatures, type ImageSizes } from "./added-features.ts";
import { unetInputs } from "./component.ts";
import { guided } from "./guidance.ts";
import type { Pipeline } from "./pipeline.ts";
import type { SessionPool } from "./session-pool.ts";
import { type EncodedPrompts, type EncodeOptions, encodePrompts } from "./text-encoding.ts";

export interface Denoiser {
  /** What the model predicts of a sample [1, C, h, w] at a step of training. */
  predict(sample: Float32Array, t: number): Promise<Float32Array>;
  done(): Promise<void>;
}

export interface DenoiserOptions {
  readonly pool: SessionPool;
  readonly branches: readonly MountedBranches[];
  /** Latent rows and columns. */
  readonly h: number;
  readonly w: number;
  readonly guidance: number;
  readonly guidanceRescale: number;
  readonly conditions: Conditions;
}

/** What stands for the prompt and, where guidance is on, before it for its absence. */
export interface Conditions {
  /** [1 or 2, T, X] */
  readonly context: FloatTensor;
  /** [1 or 2, P] of models that read it. */
  readonly pooled: FloatTensor | null;
}

/** Whether a step asks the model twice: models distilled with a guidance embedding are told the scale instead. */
export function asksTwice({ unet: { config } }: Pipeline, guidance: number): boolean {
  return guidance > 1 && config.time_cond_proj_dim === null;
}

/** Encodes a prompt, and the negative one where it counts; null stands for none. */
export async function encodeConditions(
  pipeline: Pipeline,
  tokenizers: readonly ClipTokenizer[],
  { prompt, negative, twice }: { readonly prompt: string; readonly negative: string | null; readonly twice: boolean },
  options: EncodeOptions,
): Promise<Conditions> {
  const zeros = twice && negative === null && pipeline.zeroNegative;
  const prompts = twice && !zeros ? [negative ?? "", prompt] : [prompt];
  const encoded = await encodePrompts(pipeline, tokenizers, prompts, options);
  return zeros ? zerosFirst(encoded) : encoded;
}

function zerosFirst({ context, pooled }: EncodedPrompts): Conditions {
  const before = ({ shape, data }: FloatTensor): FloatTensor => {
    const both = floatTensor([2, ...shape.slice(1)]);
    both.data.set(data, data.length);
    return both;
  };
  return { context: before(context), pooled: pooled && before(pooled) };
}

export async function openDenoiser(pipeline: Pipeline, options: DenoiserOptions): Promise<Denoiser> {
  const { pool, branches, h, w, guidance, guidanceRescale, conditions } = options;
  const { config } = pipeline.unet;
  const { context } = conditions;
  const [B = 0, M = 0, X = 0] = context.shape;
  if (X !== config.cross_attention_dim) {
    throw new ModelError(
      `${pipeline.folder}: its text is ${X} wide, but the UNet reads ${config.cross_attention_dim}. The components are of different models.`,
    );
  }
  const stream = createStream(1, 1);
  const { weights, tensors } = mountBranches(pipeline.unet.weights(stream), branches);
  const session = await pool.open(["unet", B, h, w, M, ...tensors.keys()].join(" "), () => {
    const inputs = unetInputs(config, { B, H: h, W: w, M });
    return new Map([["output", unet(weights, config, inputs)]]);
  });
  const fixed = new Map<string, Tensor>([["context", context], ...tensors, ...fixedFeatures(pipeline, options)]);
  const width = config.block_out_channels[0]!;
  return {
    done: () => session.done(),
    predict: async (sample, t) => {
      const all = new Float32Array(B * sample.length);
      for (let i = 0; i < B; i++) all.set(sample, i * sample.length);
      const time = timeFeatures(new Array<number>(B).fill(t), width, config);
      const results = await session.run(
        new Map([
          ...fixed,
          ["sample", floatTensor([B, config.in_channels, h, w], all)],
          ["time", floatTensor([B, width], time)],
        ]),
      );
      const output = results.get("output")!.data as Float32Array;
      if (B === 1) return output.slice();
      const half = output.length / 2;
      return guided(output.subarray(0, half), output.subarray(half), guidance, guidanceRescale);
    },
  };
}

/** What some models read beside time and text, the same at every step. */
function fixedFeatures(pipeline: Pipeline, { h, w, guidance, conditions }: DenoiserOptions): [string, Tensor][] {
  const { time_cond_proj_dim } = pipeline.unet.config;
  const B = conditions.context.shape[0]!;
  const features: [string, Tensor][] = [];
  if (time_cond_proj_dim !== null) {
    // Sines first, and one frequency less in the division than time has.
    const own = { flip_sin_to_cos: false, freq_shift: 1 };
    const data = timeFeatures(new Array<number>(B).fill((guidance - 1) * 1000), time_cond_proj_dim, own);
    features.push(["guidance", floatTensor([B, time_cond_proj_dim], data)]);
  }
  const scale = pixelsPerLatent(pipeline.vae.config);
  const [height, width] = [h * scale, w * scale];
  const sizes: ImageSizes = [height, width, 0, 0, height, width];
  const added = addedFeatures(pipeline, conditions.pooled, new Array<ImageSizes>(B).fill(sizes));
  if (added) features.push(["added", added]);
  return features;
}
