/**
 * UNet2DConditionModel, the denoiser of Stable Diffusion 1, 2 and XL: the whole forward pass, in this file.
 * Sources: Rombach et al. 2022; names from diffusers `models/unets/unet_2d_condition.py`, `unet_2d_blocks.py`,
 * `transformers/transformer_2d.py`.
 * Letters in shapes: B images, C channels, H × W latent pixels, N = H·W, M text tokens, X text width, E time width.
 */

import type { Value } from "../graph/graph.ts";
import { gelu, silu } from "../graph/ops/activation.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { attend } from "../graph/ops/attention.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { concat, split } from "../graph/ops/movement.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { normed, type ResnetOptions, resnet, sameSize, toImage, toTokens, upsample } from "./image-layers.ts";
import { segment } from "./segment.ts";
import type { UNetConfig } from "./unet-config.ts";
import type { Weights } from "./weights.ts";

export interface UNetInputs {
  /** Noisy latents [B, in_channels, H, W]. */
  readonly sample: Value;
  /** `timeFeatures` of the steps [B, block_out_channels[0]]. */
  readonly time: Value;
  /** The text encoder's hidden states [B, M, X]. */
  readonly context: Value;
  /** Pooled text beside the features of sizes [B, projection_class_embeddings_input_dim]; for textTime models. */
  readonly added?: Value;
  /** Features of the guidance scale [B, time_cond_proj_dim]; for distilled models. */
  readonly guidance?: Value;
}

/** What every block reads beside its image. */
interface Conditions {
  /** SiLU of the time embedding [B, E]. */
  readonly time: Value;
  /** [B·M, X] */
  readonly context: Value;
}

/** The noise, velocity or image that the model predicts [B, out_channels, H, W]. */
export function unet(w: Weights, config: UNetConfig, inputs: UNetInputs): Value {
  const { block_out_channels: channels, in_channels, out_channels, conv_in_kernel, conv_out_kernel } = config;
  const [B = 0, M = 0, X = 0] = inputs.context.shape;
  const at: Conditions = { time: silu(timeEmbedding(w, config, inputs)), context: reshape(inputs.context, [B * M, X]) };

  let x = w.conv("conv_in", inputs.sample, sameSize(in_channels, channels[0]!, conv_in_kernel));
  const skips = [x];
  channels.forEach((out, block) => {
    for (let layer = 0; layer < config.layers_per_block[block]!; layer++) {
      x = resnetAt(w, config, `down_blocks.${block}.resnets.${layer}`, x, out, at);
      if (config.down[block]) x = transformer(w, config, `down_blocks.${block}.attentions.${layer}`, x, block, at);
      skips.push(x);
    }
    if (block === channels.length - 1) return;
    const down = { in: out, out, kernel: 3, stride: 2, pads: [1, 1, 1, 1] } as const;
    x = w.conv(`down_blocks.${block}.downsamplers.0.conv`, x, down);
    skips.push(x);
  });

  if (config.mid) {
    const out = channels.at(-1)!;
    x = resnetAt(w, config, "mid_block.resnets.0", x, out, at);
    x = transformer(w, config, "mid_block.attentions.0", x, channels.length - 1, at);
    x = resnetAt(w, config, "mid_block.resnets.1", x, out, at);
  }

  channels.toReversed().forEach((out, i) => {
    const block = channels.length - 1 - i; // the block of the way down that has this one's options
    for (let layer = 0; layer <= config.layers_per_block[block]!; layer++) {
      x = resnetAt(w, config, `up_blocks.${i}.resnets.${layer}`, concat([x, skips.pop()!], 1), out, at);
      if (config.up[i]) x = transformer(w, config, `up_blocks.${i}.attentions.${layer}`, x, block, at);
    }
    if (block === 0) return;
    const [, , H = 0, W = 0] = skips.at(-1)!.shape; // twice the size, or one less where it was odd
    x = upsample(w, `up_blocks.${i}`, x, [H, W]);
  });

  const options = { groups: config.norm_num_groups, epsilon: config.norm_eps };
  x = silu(normed(w, "conv_norm_out", x, options));
  return w.conv("conv_out", x, sameSize(channels[0]!, out_channels, conv_out_kernel));
}

/** [B, E] with E = 4 · block_out_channels[0]. */
function timeEmbedding(w: Weights, config: UNetConfig, { time, added, guidance }: UNetInputs): Value {
  const { block_out_channels: channels, textTime, time_cond_proj_dim } = config;
  const E = 4 * channels[0]!;
  const twice = (at: string, x: Value): Value => {
    const inner = silu(w.linear(`${at}.linear_1`, x, { in: x.shape[1]!, out: E, bias: true }));
    return w.linear(`${at}.linear_2`, inner, { in: E, out: E, bias: true });
  };
  let features = time;
  if (time_cond_proj_dim !== null && guidance) {
    const spec = { in: time_cond_proj_dim, out: channels[0]!, bias: false };
    features = add(time, w.linear("time_embedding.cond_proj", guidance, spec));
  }
  const embedding = twice("time_embedding", features);
  return textTime && added ? add(embedding, twice("add_embedding", added)) : embedding;
}

function resnetAt(w: Weights, config: UNetConfig, at: string, x: Value, out: number, { time }: Conditions): Value {
  const options: ResnetOptions = { out, time, groups: config.norm_num_groups, epsilon: config.norm_eps };
  return segment(w.stream, x, (y) => resnet(w, at, y, options));
}

/** Transformer2DModel: x [B, C, H, W] attends to its own pixels and to the text. */
function transformer(w: Weights, config: UNetConfig, at: string, x: Value, block: number, given: Conditions): Value {
  return segment(w.stream, x, (y) => {
    const C = y.shape[1]!;
    const { use_linear_projection: linear, norm_num_groups: groups } = config;
    const spec = { in: C, out: C, bias: true };
    const start = normed(w, `${at}.norm`, y, { groups, epsilon: 1e-6 });
    let tokens = linear
      ? w.linear(`${at}.proj_in`, toTokens(start), spec)
      : toTokens(w.conv(`${at}.proj_in`, start, sameSize(C, C, 1))); // [B·N, C]
    for (let layer = 0; layer < config.transformer_layers_per_block[block]!; layer++) {
      tokens = transformerBlock(w, `${at}.transformer_blocks.${layer}`, tokens, {
        B: y.shape[0]!,
        heads: config.heads[block]!,
        context: given.context,
      });
    }
    const end = linear
      ? toImage(w.linear(`${at}.proj_out`, tokens, spec), y)
      : w.conv(`${at}.proj_out`, toImage(tokens, y), sameSize(C, C, 1));
    return add(end, y);
  });
}

interface BlockOptions {
  readonly B: number;
  readonly heads: number;
  /** [B·M, X] */
  readonly context: Value;
}

/** BasicTransformerBlock on tokens x [B·N, C]. */
function transformerBlock(w: Weights, at: string, x: Value, { B, heads, context }: BlockOptions): Value {
  const C = x.shape[1]!;
  const norm = (name: string, y: Value): Value =>
    layerNorm(y, w.get(`${at}.${name}.weight`, [C]), w.get(`${at}.${name}.bias`, [C]), 1e-5);
  const own = norm("norm1", x);
  let y = add(x, attention(w, `${at}.attn1`, own, own, { B, heads }));
  y = add(y, attention(w, `${at}.attn2`, norm("norm2", y), context, { B, heads }));
  return add(y, feedForward(w, `${at}.ff`, norm("norm3", y)));
}

/** Queries of x [B·N, C], keys and values of `from` [B·M, X] → [B·N, C]. */
function attention(
  w: Weights,
  at: string,
  x: Value,
  from: Value,
  { B, heads }: Pick<BlockOptions, "B" | "heads">,
): Value {
  const C = x.shape[1]!;
  const project = (name: string, y: Value): Value => {
    const rows = w.linear(`${at}.${name}`, y, { in: y.shape[1]!, out: C, bias: false });
    return reshape(rows, [B, y.shape[0]! / B, C]);
  };
  const options = { heads, scale: 1 / Math.sqrt(C / heads) };
  const mixed = attend(project("to_q", x), project("to_k", from), project("to_v", from), options); // [B, N, C]
  return w.linear(`${at}.to_out.0`, reshape(mixed, x.shape), { in: C, out: C, bias: true });
}

/** GEGLU (Shazeer 2020): h · GELU(gate), by halves of one projection. */
function feedForward(w: Weights, at: string, x: Value): Value {
  const C = x.shape[1]!;
  const wide = w.linear(`${at}.net.0.proj`, x, { in: C, out: 8 * C, bias: true });
  const [h, gate] = split(wide, 2, -1) as [Value, Value];
  return w.linear(`${at}.net.2`, mul(h, gelu(gate)), { in: 4 * C, out: C, bias: true });
}

/**
 * Sines and cosines of numbers (steps, sizes) at `width` / 2 frequencies: [numbers, width], in float32 like the
 * reference (diffusers `models/embeddings.py`), whose rounding is seen at large steps.
 */
export function timeFeatures(
  numbers: readonly number[],
  width: number,
  { flip_sin_to_cos, freq_shift }: Pick<UNetConfig, "flip_sin_to_cos" | "freq_shift">,
): Float32Array {
  const half = Math.floor(width / 2);
  const features = new Float32Array(numbers.length * width);
  const [sine, cosine] = flip_sin_to_cos ? [half, 0] : [0, half];
  for (let i = 0; i < half; i++) {
    const exponent = Math.fround(Math.fround(Math.fround(-Math.log(10000)) * i) / Math.fround(half - freq_shift));
    const frequency = Math.fround(Math.exp(exponent));
    numbers.forEach((number, row) => {
      const angle = Math.fround(Math.fround(number) * frequency);
      features[row * width + sine + i] = Math.sin(angle);
      features[row * width + cosine + i] = Math.cos(angle);
    });
  }
  return features;
}
