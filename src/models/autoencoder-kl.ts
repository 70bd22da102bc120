/**
 * AutoencoderKL, which Stable Diffusion's latents come from: the whole forward pass, in this file.
 * Sources: Rombach et al. 2022; names from diffusers `models/autoencoders/autoencoder_kl.py`, `vae.py`.
 * Letters in shapes: B images, C channels, H × W pixels, h × w latent pixels, N = H·W.
 */

import { ModelError } from "../errors.ts";
import { scalar, type Value } from "../graph/graph.ts";
import { silu } from "../graph/ops/activation.ts";
import { add, max, neg } from "../graph/ops/arithmetic.ts";
import { attend } from "../graph/ops/attention.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { split } from "../graph/ops/movement.ts";
import { type RawConfig, readFlag, readNumber, readSize, refuseUnless } from "./config.ts";
import { normed, resnet, sameSize, toImage, toTokens, upsample } from "./image-layers.ts";
import { segment } from "./segment.ts";
import { readSizes } from "./unet-config.ts";
import type { Weights } from "./weights.ts";

export interface AutoencoderConfig {
  readonly in_channels: number;
  readonly out_channels: number;
  readonly block_out_channels: readonly number[];
  readonly layers_per_block: number;
  readonly latent_channels: number;
  readonly norm_num_groups: number;
  /** Latents = (what the encoder draws − shift_factor) · scaling_factor. */
  readonly scaling_factor: number;
  readonly shift_factor: number;
  readonly use_quant_conv: boolean;
  readonly use_post_quant_conv: boolean;
  readonly mid_block_add_attention: boolean;
}

export function configureAutoencoder(raw: RawConfig): AutoencoderConfig {
  refuseUnless(raw, "act_fn", ["silu", "swish"]);
  refuseUnless(raw, "latents_mean", []);
  refuseUnless(raw, "latents_std", []);
  const block_out_channels = readSizes(raw, "block_out_channels", [64]);
  for (const [field, kind] of [
    ["down_block_types", "DownEncoderBlock2D"],
    ["up_block_types", "UpDecoderBlock2D"],
  ] as const) {
    const types = raw[field] ?? [kind];
    if (Array.isArray(types) && types.length === block_out_channels.length && types.every((each) => each === kind))
      continue;
    throw new ModelError(
      `config.json: ${field} is ${JSON.stringify(types)}, supported: ${block_out_channels.length} of ${kind}`,
    );
  }
  return {
    in_channels: readSize(raw, "in_channels", 3),
    out_channels: readSize(raw, "out_channels", 3),
    block_out_channels,
    layers_per_block: readSize(raw, "layers_per_block", 1),
    latent_channels: readSize(raw, "latent_channels", 4),
    norm_num_groups: readSize(raw, "norm_num_groups", 32),
    scaling_factor: readNumber(raw, "scaling_factor", 0.18215),
    shift_factor: readNumber(raw, "shift_factor", 0),
    use_quant_conv: readFlag(raw, "use_quant_conv", true),
    use_post_quant_conv: readFlag(raw, "use_post_quant_conv", true),
    mid_block_add_attention: readFlag(raw, "mid_block_add_attention", true),
  };
}

/** How many pixels a latent pixel stands for, along each side. */
export function pixelsPerLatent({ block_out_channels }: AutoencoderConfig): number {
  return 2 ** (block_out_channels.length - 1);
}

export interface Encoded {
  /** [B, latent_channels, h, w] each, before scaling_factor. */
  readonly mean: Value;
  readonly logvar: Value;
}

/** Images [B, in_channels, H, W] from −1 to 1 → the distribution of their latents. */
export function encode(w: Weights, config: AutoencoderConfig, images: Value): Encoded {
  const { block_out_channels: channels, latent_channels: latent, use_quant_conv } = config;
  let x = w.conv("encoder.conv_in", images, sameSize(config.in_channels, channels[0]!, 3));
  channels.forEach((out, block) => {
    for (let layer = 0; layer < config.layers_per_block; layer++) {
      x = resnetAt(w, config, `encoder.down_blocks.${block}.resnets.${layer}`, x, out);
    }
    if (block === channels.length - 1) return;
    // Padded below and on the right only, as the first of these models was trained.
    const down = { in: out, out, kernel: 3, stride: 2, pads: [0, 0, 1, 1] } as const;
    x = w.conv(`encoder.down_blocks.${block}.downsamplers.0.conv`, x, down);
  });
  x = middle(w, config, "encoder.mid_block", x);
  x = silu(normed(w, "encoder.conv_norm_out", x, normOptions(config)));
  x = w.conv("encoder.conv_out", x, sameSize(channels.at(-1)!, 2 * latent, 3));
  if (use_quant_conv) x = w.conv("quant_conv", x, sameSize(2 * latent, 2 * latent, 1));
  const [mean, logvar] = split(x, 2, 1) as [Value, Value];
  return { mean, logvar: neg(max(neg(max(logvar, scalar(-30))), scalar(-20))) }; // within −30 and 20
}

/** Latents [B, latent_channels, h, w], scaling_factor taken off → images [B, out_channels, H, W], about −1 to 1. */
export function decode(w: Weights, config: AutoencoderConfig, latents: Value): Value {
  const { block_out_channels: channels, latent_channels: latent, use_post_quant_conv } = config;
  let x = use_post_quant_conv ? w.conv("post_quant_conv", latents, sameSize(latent, latent, 1)) : latents;
  x = w.conv("decoder.conv_in", x, sameSize(latent, channels.at(-1)!, 3));
  x = middle(w, config, "decoder.mid_block", x);
  channels.toReversed().forEach((out, block) => {
    for (let layer = 0; layer <= config.layers_per_block; layer++) {
      x = resnetAt(w, config, `decoder.up_blocks.${block}.resnets.${layer}`, x, out);
    }
    if (block < channels.length - 1)
      x = upsample(w, `decoder.up_blocks.${block}`, x, [2 * x.shape[2]!, 2 * x.shape[3]!]);
  });
  x = silu(normed(w, "decoder.conv_norm_out", x, normOptions(config)));
  return w.conv("decoder.conv_out", x, sameSize(channels[0]!, config.out_channels, 3));
}

/** Older names of a tensor: attention was once spelled query, key, value and proj_attn. */
export function autoencoderSpellings(name: string): readonly string[] {
  const older = /^(.*\.mid_block\.attentions\.0\.)(to_q|to_k|to_v|to_out\.0)(\..*)$/.exec(name);
  if (!older) return [name];
  const names = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" } as const;
  return [name, `${older[1]}${names[older[2] as keyof typeof names]}${older[3]}`];
}

function normOptions({ norm_num_groups }: AutoencoderConfig): { groups: number; epsilon: number } {
  return { groups: norm_num_groups, epsilon: 1e-6 };
}

function resnetAt(w: Weights, config: AutoencoderConfig, at: string, x: Value, out: number): Value {
  return segment(w.stream, x, (y) => resnet(w, at, y, { out, ...normOptions(config) }));
}

function middle(w: Weights, config: AutoencoderConfig, at: string, x: Value): Value {
  const C = x.shape[1]!;
  let y = resnetAt(w, config, `${at}.resnets.0`, x, C);
  if (config.mid_block_add_attention) y = attention(w, config, `${at}.attentions.0`, y);
  return resnetAt(w, config, `${at}.resnets.1`, y, C);
}

/** One head over all pixels. */
function attention(w: Weights, config: AutoencoderConfig, at: string, x: Value): Value {
  const [B = 0, C = 0, H = 0, W = 0] = x.shape;
  const spec = { in: C, out: C, bias: true };
  const tokens = toTokens(normed(w, `${at}.group_norm`, x, normOptions(config)));
  const project = (name: string): Value => reshape(w.linear(`${at}.${name}`, tokens, spec), [B, H * W, C]);
  const mixed = attend(project("to_q"), project("to_k"), project("to_v"), { heads: 1, scale: 1 / Math.sqrt(C) });
  return add(x, toImage(w.linear(`${at}.to_out.0`, reshape(mixed, tokens.shape), spec), x));
}
