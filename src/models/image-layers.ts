/**
 * Layers that the UNet and the autoencoder of diffusion models share.
 * Source of names: diffusers `models/resnet.py`, `downsampling.py`, `upsampling.py`.
 * Letters in shapes: B images, C channels, H × W pixels, N = H·W.
 */

import type { Value } from "../graph/graph.ts";
import { silu } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { transpose } from "../graph/ops/movement.ts";
import { groupNorm } from "../graph/ops/norm.ts";
import { resizeNearest } from "../graph/ops/resize.ts";
import type { ConvSpec, Weights } from "./weights.ts";

/** Groups and ε of a model's group norms. */
export interface GroupNormOptions {
  readonly groups: number;
  readonly epsilon: number;
}

/** A convolution that keeps the image's size. */
export function sameSize(channels: number, out: number, kernel: number): ConvSpec {
  const pad = (kernel - 1) / 2;
  return { in: channels, out, kernel, pads: [pad, pad, pad, pad] };
}

/** Group norm of x [B, C, H, W] by the gain and bias of that name. */
export function normed(w: Weights, name: string, x: Value, { groups, epsilon }: GroupNormOptions): Value {
  const C = x.shape[1]!;
  return groupNorm(x, w.get(`${name}.weight`, [C]), w.get(`${name}.bias`, [C]), groups, epsilon);
}

export interface ResnetOptions extends GroupNormOptions {
  readonly out: number;
  /** SiLU of the time embedding [B, E]; absent in the autoencoder. */
  readonly time?: Value;
}

/** ResnetBlock2D: x [B, C, H, W] → [B, out, H, W]. */
export function resnet(w: Weights, at: string, x: Value, { out, time, ...norm }: ResnetOptions): Value {
  const [B = 0, C = 0] = x.shape;
  let y = w.conv(`${at}.conv1`, silu(normed(w, `${at}.norm1`, x, norm)), sameSize(C, out, 3));
  if (time) {
    const shifts = w.linear(`${at}.time_emb_proj`, time, { in: time.shape[1]!, out, bias: true }); // [B, out]
    y = add(y, reshape(shifts, [B, out, 1, 1]));
  }
  y = w.conv(`${at}.conv2`, silu(normed(w, `${at}.norm2`, y, norm)), sameSize(out, out, 3));
  return add(C === out ? x : w.conv(`${at}.conv_shortcut`, x, sameSize(C, out, 1)), y);
}

/** Nearest neighbours at `size`, then a convolution. */
export function upsample(w: Weights, at: string, x: Value, size: readonly [number, number]): Value {
  const C = x.shape[1]!;
  return w.conv(`${at}.upsamplers.0.conv`, resizeNearest(x, size), sameSize(C, C, 3));
}

/** [B, C, H, W] → [B·N, C] */
export function toTokens(x: Value): Value {
  const [B = 0, C = 0, H = 0, W = 0] = x.shape;
  return reshape(transpose(reshape(x, [B, C, H * W]), [0, 2, 1]), [B * H * W, C]);
}

/** [B·N, C] → the image [B, C, H, W] of `shape`'s size. */
export function toImage(x: Value, { shape: [B = 0, , H = 0, W = 0] }: Pick<Value, "shape">): Value {
  const C = x.shape[1]!;
  return reshape(transpose(reshape(x, [B, H * W, C]), [0, 2, 1]), [B, C, H, W]);
}
