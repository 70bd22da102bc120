/** Images → what the trainer keeps of them: mean and deviation of their latents, so that each step still draws. */

import { readImageFile } from "../data/image-file.ts";
import { cropImage, resizeImage } from "../data/resize-image.ts";
import type { ImageSizes } from "../diffusion/added-features.ts";
import { fromPicture } from "../diffusion/pictures.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import type { SessionPool } from "../diffusion/session-pool.ts";
import { DataError, messageOf } from "../errors.ts";
import type { RgbImage } from "../files/png.ts";
import { input } from "../graph/graph.ts";
import { encode } from "../models/autoencoder-kl.ts";
import { createStream } from "../models/stream.ts";
import { hashText, type Random, randomStream } from "../tensor/random.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { bucketOf, type Size } from "./buckets.ts";
import type { ImageItem } from "./image-folder.ts";

/** What is known of an image's latents [C, h, w], before scaling. */
export interface Distribution {
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
}

export interface View extends Distribution {
  readonly sizes: ImageSizes;
}

export interface PreparedImage {
  readonly item: ImageItem;
  readonly h: number;
  readonly w: number;
  /** As it is, and mirrored where that is asked for. */
  readonly views: readonly View[];
}

export interface FittedImage {
  readonly picture: RgbImage;
  readonly sizes: ImageSizes;
  /** The sizes of the mirrored picture, whose cut begins at the other side. */
  readonly mirroredSizes: ImageSizes;
}

export interface FitOptions {
  readonly sizes: readonly Size[];
  readonly crop: "center" | "random";
  readonly seed: number;
}

/** An image's file at the size of its bucket; a random crop is drawn once, for latents are kept. */
export async function fittedImage(path: string, { sizes, crop, seed }: FitOptions): Promise<FittedImage> {
  let image: RgbImage;
  try {
    image = await readImageFile(path);
  } catch (error) {
    throw new DataError(messageOf(error));
  }
  const [width, height] = bucketOf([image.width, image.height], sizes);
  const scale = Math.max(width / image.width, height / image.height);
  const [w, h] = [Math.max(width, Math.round(image.width * scale)), Math.max(height, Math.round(image.height * scale))];
  const large = resizeImage(image, w, h);
  const random = randomStream(seed, hashText("crop"), hashText(path));
  const place = (room: number): number => (crop === "center" ? room >> 1 : random.integer(room + 1));
  const left = place(w - width);
  const top = place(h - height);
  const sizesFrom = (column: number): ImageSizes => [image.height, image.width, top, column, height, width];
  return {
    picture: w === width && h === height ? large : cropImage(large, left, top, width, height),
    sizes: sizesFrom(left),
    mirroredSizes: sizesFrom(w - width - left),
  };
}

/** Left and right exchanged. */
export function mirrored({ width, height, data }: RgbImage): RgbImage {
  const turned = new Uint8Array(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = 3 * (row * width + width - 1 - column);
      turned.set(data.subarray(from, from + 3), 3 * (row * width + column));
    }
  }
  return { width, height, data: turned };
}

/** The distribution of one picture's latents. */
export async function encodeDistribution(
  { vae }: Pipeline,
  pool: SessionPool,
  picture: RgbImage,
): Promise<Distribution & { readonly h: number; readonly w: number }> {
  const { width, height } = picture;
  const session = await pool.open(`vae distribution ${height} ${width}`, () => {
    const images = input("images", "f32", [1, 3, height, width]);
    const { mean, logvar } = encode(vae.weights(createStream(1, 1)), vae.config, images);
    return new Map([
      ["mean", mean],
      ["logvar", logvar],
    ]);
  });
  const results = await session.run(new Map([["images", fromPicture(picture)]]));
  await session.done();
  const mean = results.get("mean") as FloatTensor;
  const logvar = results.get("logvar")!.data as Float32Array;
  const [, , h = 0, w = 0] = mean.shape;
  return { mean: mean.data.slice(), deviation: logvar.map((value) => Math.exp(value / 2)), h, w };
}

/** Latents as the UNet has them, drawn from their distribution. */
export function drawLatents(
  { vae: { config } }: Pipeline,
  { mean, deviation }: Distribution,
  random: Random,
): Float32Array {
  return mean.map(
    (value, i) => (value + deviation[i]! * random.normal() - config.shift_factor) * config.scaling_factor,
  );
}
