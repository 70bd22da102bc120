/**
 * Configurations of a single-file checkpoint's models, which it does not carry: read off its tensors' shapes, and for what
 * shapes do not tell, as Stable Diffusion 1, 2 and XL have it. Field names are diffusers' and transformers'.
 * Source of the values: diffusers `loaders/single_file_utils.py` and the configurations of the published pipelines.
 */

import { ModelError } from "../errors.ts";
import type { TensorEntry } from "../files/safetensors.ts";
import type { RawConfig } from "../models/config.ts";

export type Tensors = ReadonlyMap<string, TensorEntry>;
export type Family = "sd1" | "sd2" | "sdxl";
export const PREDICTIONS = ["epsilon", "v_prediction"] as const;
/** What a model says of a noisy image: the noise, or the velocity (Salimans and Ho 2022). */
export type Prediction = (typeof PREDICTIONS)[number];

/** Channels of one attention head in Stable Diffusion 2 and XL, and in every text encoder. */
const HEAD = 64;
/** Pixels of the latents' sides, as the models were trained. */
const SAMPLE_SIZES: Readonly<Record<Family, number>> = { sd1: 64, sd2: 64, sdxl: 128 };

interface Block {
  readonly channels: number;
  readonly layers: number;
  /** Transformer blocks of each attention; 0 without attention. */
  readonly depth: number;
}

/** `tensors` are the UNet's, in the first layout and without their prefix. */
export function unetConfig(tensors: Tensors, family: Family, prediction: Prediction): RawConfig {
  const blocks = blocksOf(tensors);
  const attended = blocks.map(({ depth }) => depth > 0);
  const attention = [...tensors.keys()].find((name) => name.endsWith(".attn2.to_k.weight"));
  const projection = [...tensors].find(([name]) => name.endsWith(".1.proj_in.weight"));
  const added = tensors.get("label_emb.0.0.weight");
  const inputs = shapeOf(tensors, "input_blocks.0.0.weight")[1]!;
  if (inputs !== shapeOf(tensors, "out.2.weight")[0]) {
    throw new ModelError(
      `The UNet reads ${inputs} channels: inpainting and depth models are not supported. Take a text-to-image checkpoint.`,
    );
  }
  return {
    _class_name: "UNet2DConditionModel",
    sample_size: family === "sd2" && prediction === "v_prediction" ? 96 : SAMPLE_SIZES[family],
    in_channels: inputs,
    out_channels: shapeOf(tensors, "out.2.weight")[0],
    block_out_channels: blocks.map(({ channels }) => channels),
    down_block_types: attended.map((each) => (each ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: attended.toReversed().map((each) => (each ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    layers_per_block: blocks.map(({ layers }) => layers),
    transformer_layers_per_block: blocks.map(({ depth }, i) =>
      // The middle block has as many as the last entry says, attention there or not.
      depth > 0 ? depth : i === blocks.length - 1 ? Math.max(1, depthOf(tensors, "middle_block.1")) : 1,
    ),
    attention_head_dim: family === "sd1" ? 8 : blocks.map(({ channels }) => channels / HEAD),
    cross_attention_dim: attention === undefined ? undefined : shapeOf(tensors, attention)[1],
    use_linear_projection: projection?.[1].shape.length === 2,
    ...(added
      ? {
          addition_embed_type: "text_time",
          addition_time_embed_dim: 256,
          projection_class_embeddings_input_dim: added.shape[1],
        }
      : {}),
  };
}

/** Blocks of the way down: input_blocks.N are residual blocks, with attention beside some, and changes of size. */
function blocksOf(tensors: Tensors): Block[] {
  const blocks: Block[] = [];
  let layers = 0;
  let channels = 0;
  let depth = 0;
  for (let i = 1; ; i++) {
    const resnet = tensors.get(`input_blocks.${i}.0.in_layers.2.weight`);
    if (resnet) {
      layers += 1;
      channels = resnet.shape[0]!;
      depth = Math.max(depth, depthOf(tensors, `input_blocks.${i}.1`));
      continue;
    }
    if (layers > 0) blocks.push({ channels, layers, depth });
    if (!tensors.has(`input_blocks.${i}.0.op.weight`)) return blocks;
    [layers, depth] = [0, 0];
  }
}

function depthOf(tensors: Tensors, at: string): number {
  let depth = 0;
  while (tensors.has(`${at}.transformer_blocks.${depth}.norm1.weight`)) depth += 1;
  return depth;
}

/** `tensors` are the autoencoder's, in the first layout and without their prefix. */
export function autoencoderConfig(tensors: Tensors, family: Family): RawConfig {
  const channels: number[] = [];
  for (let i = 0; tensors.has(`encoder.down.${i}.block.0.conv1.weight`); i++) {
    channels.push(shapeOf(tensors, `encoder.down.${i}.block.0.conv1.weight`)[0]!);
  }
  let layers = 0;
  while (tensors.has(`encoder.down.0.block.${layers}.conv1.weight`)) layers += 1;
  return {
    _class_name: "AutoencoderKL",
    in_channels: shapeOf(tensors, "encoder.conv_in.weight")[1],
    out_channels: shapeOf(tensors, "decoder.conv_out.weight")[0],
    latent_channels: shapeOf(tensors, "decoder.conv_in.weight")[1],
    block_out_channels: channels,
    down_block_types: channels.map(() => "DownEncoderBlock2D"),
    up_block_types: channels.map(() => "UpDecoderBlock2D"),
    layers_per_block: layers,
    scaling_factor: family === "sdxl" ? 0.13025 : 0.18215,
  };
}

export interface TextConfigOptions {
  /** Of OpenAI's CLIP, or of OpenCLIP, whose activation differs. */
  readonly open: boolean;
  /** Layers that the pipeline leaves out, at the end. */
  readonly unused: number;
  /** Whether its pooled text is projected and read. */
  readonly projects: boolean;
}

/** `tensors` are a text encoder's, by transformers' names. */
export function textConfig(tensors: Tensors, { open, unused, projects }: TextConfigOptions): RawConfig {
  const at = tensors.has("text_model.final_layer_norm.weight") ? "text_model." : "";
  const [vocabulary = 0, width = 0] = shapeOf(tensors, `${at}embeddings.token_embedding.weight`);
  let layers = 0;
  while (tensors.has(`${at}encoder.layers.${layers}.mlp.fc1.weight`)) layers += 1;
  return {
    architectures: [projects ? "CLIPTextModelWithProjection" : "CLIPTextModel"],
    model_type: "clip_text_model",
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: shapeOf(tensors, `${at}encoder.layers.0.mlp.fc1.weight`)[0],
    num_hidden_layers: layers - unused,
    num_attention_heads: width / HEAD,
    max_position_embeddings: shapeOf(tensors, `${at}embeddings.position_embedding.weight`)[0],
    hidden_act: open ? "gelu" : "quick_gelu",
    layer_norm_eps: 1e-5,
    bos_token_id: vocabulary - 2,
    eos_token_id: vocabulary - 1,
    pad_token_id: open ? 0 : vocabulary - 1,
    projection_dim: projects ? shapeOf(tensors, "text_projection.weight")[1] : width,
  };
}

/** The noise that the published pipelines were trained with, and their usual sampler. */
export function schedulerConfig(family: Family, prediction: Prediction, zeroTerminal: boolean): RawConfig {
  const sampler =
    family === "sd1"
      ? { _class_name: "PNDMScheduler", skip_prk_steps: true, set_alpha_to_one: false }
      : family === "sd2"
        ? { _class_name: "DDIMScheduler", clip_sample: false, set_alpha_to_one: false }
        : { _class_name: "EulerDiscreteScheduler", interpolation_type: "linear", use_karras_sigmas: false };
  return {
    ...sampler,
    num_train_timesteps: 1000,
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    steps_offset: 1,
    timestep_spacing: zeroTerminal ? "trailing" : "leading",
    prediction_type: prediction,
    ...(zeroTerminal ? { rescale_betas_zero_snr: true } : {}),
  };
}

function shapeOf(tensors: Tensors, name: string): readonly number[] {
  const entry = tensors.get(name);
  if (entry) return entry.shape;
  throw new ModelError(`${name} is missing. Download the file again, or choose another checkpoint.`);
}
