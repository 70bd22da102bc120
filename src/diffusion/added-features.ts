/** What Stable Diffusion XL's UNet reads beside time and text: pooled text, and features of sizes. */

import { ModelError } from "../errors.ts";
import { timeFeatures } from "../models/unet.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { Pipeline } from "./pipeline.ts";

/**
 * Pixels, rows before columns: the size that the image had, the first row and column of the part that was cut from it, and
 * the size to make.
 */
export type ImageSizes = readonly [
  originalHeight: number,
  originalWidth: number,
  top: number,
  left: number,
  height: number,
  width: number,
];

/** [B, projection_class_embeddings_input_dim] from pooled text [B, P] and the sizes of each; null for other models. */
export function addedFeatures(
  { folder, unet: { config } }: Pipeline,
  pooled: FloatTensor | null,
  sizes: readonly ImageSizes[],
): FloatTensor | null {
  if (!config.textTime) return null;
  if (!pooled) throw new ModelError(`${folder}: the UNet reads pooled text, which needs text_encoder_2.`);
  const { addition_time_embed_dim: each, projection_class_embeddings_input_dim: width } = config.textTime;
  const P = pooled.shape[1]!;
  if (P + 6 * each !== width) {
    throw new ModelError(
      `${folder}: pooled text of ${P} and ${6 * each} features of sizes, but the UNet reads ${width}.`,
    );
  }
  const added = floatTensor([sizes.length, width]);
  sizes.forEach((own, i) => {
    added.data.set(pooled.data.subarray(i * P, (i + 1) * P), i * width);
    added.data.set(timeFeatures(own, each, config), i * width + P);
  });
  return added;
}
