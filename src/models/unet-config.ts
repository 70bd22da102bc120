/**
 * Configuration of UNet2DConditionModel as Stable Diffusion 1, 2 and XL have it.
 * Source of fields and defaults: diffusers `models/unets/unet_2d_condition.py`.
 */

import { ModelError } from "../errors.ts";
import { type RawConfig, readChoice, readFlag, readNumber, readSize, refuseUnless } from "./config.ts";

export interface UNetConfig {
  /** Latent pixels a side that the model was trained at. */
  readonly sample_size: number;
  readonly in_channels: number;
  readonly out_channels: number;
  readonly flip_sin_to_cos: boolean;
  readonly freq_shift: number;
  readonly block_out_channels: readonly number[];
  /** Whether each block has cross-attention, down and up. */
  readonly down: readonly boolean[];
  readonly up: readonly boolean[];
  /** Whether the middle block has cross-attention, or is left out. */
  readonly mid: boolean;
  readonly layers_per_block: readonly number[];
  readonly transformer_layers_per_block: readonly number[];
  /** Attention heads of each block: config.json calls their number `attention_head_dim`. */
  readonly heads: readonly number[];
  readonly cross_attention_dim: number;
  readonly use_linear_projection: boolean;
  readonly norm_num_groups: number;
  readonly norm_eps: number;
  readonly conv_in_kernel: number;
  readonly conv_out_kernel: number;
  /** Stable Diffusion XL's embedding of sizes and pooled text; null in others. */
  readonly textTime: TextTime | null;
  /** Width of the guidance embedding of models distilled to few steps; null in others. */
  readonly time_cond_proj_dim: number | null;
}

export interface TextTime {
  readonly addition_time_embed_dim: number;
  readonly projection_class_embeddings_input_dim: number;
}

/** Options whose other values change the computation and are not read. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  act_fn: ["silu", "swish"],
  attention_type: ["default"],
  center_input_sample: [false],
  class_embed_type: [],
  class_embeddings_concat: [false],
  cross_attention_norm: [],
  downsample_padding: [1],
  dual_cross_attention: [false],
  encoder_hid_dim: [],
  encoder_hid_dim_type: [],
  mid_block_only_cross_attention: [false],
  mid_block_scale_factor: [1],
  mid_block_type: ["UNetMidBlock2DCrossAttn"],
  num_attention_heads: [],
  num_class_embeds: [],
  only_cross_attention: [false],
  resnet_out_scale_factor: [1],
  resnet_skip_time_act: [false],
  resnet_time_scale_shift: ["default"],
  reverse_transformer_layers_per_block: [],
  time_embedding_act_fn: [],
  time_embedding_dim: [],
  time_embedding_type: ["positional"],
  timestep_post_act: [],
};

export function configureUNet(raw: RawConfig): UNetConfig {
  for (const [field, allowed] of Object.entries(FIXED)) refuseUnless(raw, field, allowed);
  const block_out_channels = readSizes(raw, "block_out_channels", [320, 640, 1280, 1280]);
  const count = block_out_channels.length;
  const norm_num_groups = readSize(raw, "norm_num_groups", 32);
  const heads = spread(raw, "attention_head_dim", count, 8);
  block_out_channels.forEach((channels, i) => {
    if (channels % norm_num_groups !== 0 || channels % heads[i]! !== 0) {
      throw new ModelError(
        `config.json: block_out_channels ${channels} is no multiple of norm_num_groups ${norm_num_groups} and of attention_head_dim ${heads[i]}`,
      );
    }
  });
  const addition = readChoice(raw, "addition_embed_type", ["text_time", "none"] as const, "none");
  return {
    sample_size: readSize(raw, "sample_size", 64),
    in_channels: readSize(raw, "in_channels", 4),
    out_channels: readSize(raw, "out_channels", 4),
    flip_sin_to_cos: readFlag(raw, "flip_sin_to_cos", true),
    freq_shift: readNumber(raw, "freq_shift", 0),
    block_out_channels,
    down: readBlocks(raw, "down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"], [1, 1, 1, 0], count),
    up: readBlocks(raw, "up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D"], [0, 1, 1, 1], count),
    mid: raw["mid_block_type"] !== null,
    layers_per_block: spread(raw, "layers_per_block", count, 2),
    transformer_layers_per_block: spread(raw, "transformer_layers_per_block", count, 1),
    heads,
    cross_attention_dim: readSize(raw, "cross_attention_dim", 1280),
    use_linear_projection: readFlag(raw, "use_linear_projection", false),
    norm_num_groups,
    norm_eps: readNumber(raw, "norm_eps", 1e-5),
    conv_in_kernel: readSize(raw, "conv_in_kernel", 3),
    conv_out_kernel: readSize(raw, "conv_out_kernel", 3),
    textTime:
      addition === "none"
        ? null
        : {
            addition_time_embed_dim: readSize(raw, "addition_time_embed_dim"),
            projection_class_embeddings_input_dim: readSize(raw, "projection_class_embeddings_input_dim"),
          },
    time_cond_proj_dim: (raw["time_cond_proj_dim"] ?? null) === null ? null : readSize(raw, "time_cond_proj_dim"),
  };
}

/** A list of whole numbers above 0. */
export function readSizes(raw: RawConfig, field: string, fallback: readonly number[]): readonly number[] {
  const value = raw[field] ?? fallback;
  if (Array.isArray(value) && value.length > 0) {
    return value.map((each: unknown, i) => readSize({ [`${field}[${i}]`]: each }, `${field}[${i}]`));
  }
  throw new ModelError(`config.json: ${field} is ${JSON.stringify(value)}, needed a list of whole numbers above 0`);
}

/** One number for every block, or a list with one for each. */
function spread(raw: RawConfig, field: string, count: number, fallback: number): readonly number[] {
  const value = raw[field] ?? fallback;
  if (!Array.isArray(value)) return new Array<number>(count).fill(readSize(raw, field, fallback));
  const sizes = readSizes(raw, field, []);
  if (sizes.length === count) return sizes;
  throw new ModelError(`config.json: ${field} has ${sizes.length} entries, needed ${count}, one a block`);
}

/** Whether each block is of the second of two kinds. */
function readBlocks(
  raw: RawConfig,
  field: string,
  kinds: readonly [string, string],
  fallback: readonly number[],
  count: number,
): readonly boolean[] {
  const value = raw[field] ?? fallback.map((each) => kinds[each]);
  if (!Array.isArray(value) || value.length !== count) {
    throw new ModelError(`config.json: ${field} is ${JSON.stringify(value)}, needed ${count} names, one a block`);
  }
  return value.map((each: unknown, i) => {
    const name = `${field}[${i}]`;
    return readChoice({ [name]: each }, name, kinds, kinds[0]) === kinds[1];
  });
}
