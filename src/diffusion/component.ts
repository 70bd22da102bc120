/** One model of a diffusion pipeline: its configuration, where its tensors lie, and what it is made of. */

import { openCheckpoint } from "../files/checkpoint.ts";
import { readTensor, type TensorEntry } from "../files/safetensors.ts";
import { input, type Value } from "../graph/graph.ts";
import {
  type AutoencoderConfig,
  autoencoderSpellings,
  configureAutoencoder,
  decode,
  encode,
  pixelsPerLatent,
} from "../models/autoencoder-kl.ts";
import { type ClipTextConfig, clipText, clipTextSpellings, configureClipText } from "../models/clip-text.ts";
import type { RawConfig } from "../models/config.ts";
import { misfits, tensorSource } from "../models/source.ts";
import { createStream, type Stream } from "../models/stream.ts";
import { type ModelTrace, traceWeights } from "../models/trace.ts";
import { type UNetInputs, unet } from "../models/unet.ts";
import { configureUNet, type UNetConfig } from "../models/unet-config.ts";
import { checkpointWeights, type TensorSource, type Weights } from "../models/weights.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type FloatTensor, floatTensor, type StoredTensor } from "../tensor/tensor.ts";

export interface Component<C> {
  /** Where it was read from: named in messages. */
  readonly where: string;
  readonly rawConfig: RawConfig;
  readonly config: C;
  readonly source: TensorSource;
  readonly trace: ModelTrace;
  /** The files with its tensors. */
  readonly files: readonly string[];
  /** Its weights, with `replaced` tensors in place of its own. */
  weights(stream: Stream, replaced?: ReadonlyMap<string, Value>): Weights;
}

/** What a kind of component is: how its configuration is read and its graph built. */
export interface ComponentKind<C> {
  configure(raw: RawConfig): C;
  /** The names under which a tensor may lie, tried in order. */
  spellings(name: string, config: C): readonly string[];
  /** Builds everything that the component can compute, at the smallest size. */
  build(w: Weights, config: C, stream: Stream): void;
}

export const UNET: ComponentKind<UNetConfig> = {
  configure: configureUNet,
  spellings: (name) => [name],
  build: (w, config) => {
    const side = 2 ** (config.block_out_channels.length - 1);
    unet(w, config, unetInputs(config, { B: 1, H: side, W: side, M: 2 }));
  },
};

export const AUTOENCODER: ComponentKind<AutoencoderConfig> = {
  configure: configureAutoencoder,
  spellings: autoencoderSpellings,
  build: (w, config) => {
    const side = pixelsPerLatent(config);
    encode(w, config, input("images", "f32", [1, config.in_channels, side, side]));
    decode(w, config, input("latents", "f32", [1, config.latent_channels, 1, 1]));
  },
};

export const CLIP_TEXT: ComponentKind<ClipTextConfig> = {
  configure: configureClipText,
  spellings: clipTextSpellings,
  build: (w, config, stream) => void clipText(w, config, stream).pooled(),
};

export interface UNetSize {
  readonly B: number;
  /** Rows and columns of the latents. */
  readonly H: number;
  readonly W: number;
  /** Text tokens. */
  readonly M: number;
}

/** The UNet's inputs by name: sample, time, context, and where the model has them added and guidance. */
export function unetInputs(
  config: UNetConfig,
  { B, H, W, M }: UNetSize,
  { trainableContext = false }: { readonly trainableContext?: boolean } = {},
): UNetInputs {
  const { textTime, time_cond_proj_dim: guidance } = config;
  return {
    sample: input("sample", "f32", [B, config.in_channels, H, W]),
    time: input("time", "f32", [B, config.block_out_channels[0]!]),
    context: input("context", "f32", [B, M, config.cross_attention_dim], trainableContext),
    ...(textTime ? { added: input("added", "f32", [B, textTime.projection_class_embeddings_input_dim]) } : {}),
    ...(guidance === null ? {} : { guidance: input("guidance", "f32", [B, guidance]) }),
  };
}

/** Opens a component's folder. Throws ModelError that lists every tensor that is missing or has another shape. */
export function openComponent<C>(folder: string, kind: ComponentKind<C>): Component<C> {
  const { config, tensors } = openCheckpoint(folder);
  return createComponent(folder, config, tensors, kind);
}

/** A component of tensors that have been found, with the configuration that they go with. */
export function createComponent<C>(
  where: string,
  rawConfig: RawConfig,
  tensors: ReadonlyMap<string, TensorEntry>,
  { configure, spellings, build }: ComponentKind<C>,
): Component<C> {
  const config = configure(rawConfig);
  const source = tensorSource(where, tensors, { spellings: (name) => spellings(name, config), pointwise: true });
  const stream = createStream(1, 2);
  const trace = traceWeights(stream, (w) => build(w, config, stream));
  const problem = misfits(where, source, trace.tensors);
  if (problem) throw problem;
  return {
    where,
    rawConfig,
    config,
    source,
    trace,
    files: [...new Set([...trace.tensors].map(([name, shape]) => source.find(name, shape).path))],
    weights: (forStream, replaced) => checkpointWeights(source, forStream, replaced),
  };
}

/** A component's tensor as float32 in memory of its own, matrices as [out, in] however the file stores them. */
export function readOwn({ source, trace }: Component<unknown>, name: string): FloatTensor {
  const shape = trace.tensors.get(name)!;
  const stored: StoredTensor = source.find(name, shape);
  const values = toFloat32(readTensor({ ...stored, name, storedType: "" }));
  const module = trace.modules.get(name.replace(/\.weight$/, ""));
  if (module?.kind !== "linear" || module.spec.layout !== "in,out") return floatTensor(shape, values.slice());
  const [rows = 0, columns = 0] = shape;
  const turned = floatTensor([columns, rows]);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) turned.data[j * rows + i] = values[i * columns + j]!;
  }
  return turned;
}
