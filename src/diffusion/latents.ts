/** Latents ⇄ pictures, by the pipeline's autoencoder. */

import type { RgbImage } from "../files/png.ts";
import { input } from "../graph/graph.ts";
import { decode, encode } from "../models/autoencoder-kl.ts";
import { createStream } from "../models/stream.ts";
import { floatTensor } from "../tensor/tensor.ts";
import { fromPicture, toPicture } from "./pictures.ts";
import type { Pipeline } from "./pipeline.ts";
import type { SessionPool } from "./session-pool.ts";

/** Latents [1, C, h, w], as the UNet has them, as a picture. */
export async function decodeLatents(
  { vae }: Pipeline,
  pool: SessionPool,
  latents: Float32Array,
  [h, w]: readonly [number, number],
): Promise<RgbImage> {
  const { config } = vae;
  const shape = [1, config.latent_channels, h, w];
  const session = await pool.open(`vae decode ${h} ${w}`, () => {
    const x = input("latents", "f32", shape);
    return new Map([["images", decode(vae.weights(createStream(1, 1)), config, x)]]);
  });
  const plain = latents.map((value) => value / config.scaling_factor + config.shift_factor);
  const results = await session.run(new Map([["latents", floatTensor(shape, plain)]]));
  await session.done();
  return toPicture(results.get("images")!, 0);
}

/** A picture as latents, the mean of what the encoder finds likely. */
export async function encodePicture({ vae }: Pipeline, pool: SessionPool, picture: RgbImage): Promise<Float32Array> {
  const { config } = vae;
  const image = fromPicture(picture);
  const session = await pool.open(`vae encode ${picture.height} ${picture.width}`, () => {
    const x = input("images", "f32", image.shape);
    return new Map([["mean", encode(vae.weights(createStream(1, 1)), config, x).mean]]);
  });
  const results = await session.run(new Map([["images", image]]));
  await session.done();
  const mean = results.get("mean")!.data as Float32Array;
  return mean.map((value) => (value - config.shift_factor) * config.scaling_factor);
}
