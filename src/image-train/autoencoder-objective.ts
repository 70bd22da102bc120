/**
 * Training of the autoencoder: |x̂ − x| on average, and 1e-6 times the latents' divergence from a standard normal (Kingma
 * and Welling 2014; the weight is that of Rombach et al. 2022).
 */

import { fromPicture } from "../diffusion/pictures.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { createSessionPool } from "../diffusion/session-pool.ts";
import type { RgbImage } from "../files/png.ts";
import { input, scalar, type Value } from "../graph/graph.ts";
import { abs, add, exp, mul, scale, sub } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { reduceMean } from "../graph/ops/reduce.ts";
import { decode, encode, pixelsPerLatent } from "../models/autoencoder-kl.ts";
import { createStream } from "../models/stream.ts";
import type { Runtime } from "../runtime/session.ts";
import { hashText, randomStream } from "../tensor/random.ts";
import { floatTensor } from "../tensor/tensor.ts";
import type { Size } from "./buckets.ts";
import type { ImageItem } from "./image-folder.ts";
import { fittedImage, mirrored } from "./latents.ts";
import { addGradients, type ImageObjective } from "./objective.ts";
import type { ImageTrainOptions } from "./options.ts";
import { gradientsOf } from "./texts.ts";
import type { Trained } from "./trained.ts";

const DIVERGENCE = 1e-6;

export async function autoencoderObjective(
  pipeline: Pipeline,
  trained: Trained,
  items: readonly ImageItem[],
  options: ImageTrainOptions,
  { runtime, sizes }: { readonly runtime: Runtime; readonly sizes: readonly Size[] },
): Promise<ImageObjective> {
  const { config } = pipeline.vae;
  const pool = createSessionPool(runtime, { threads: options.threads }, 4);
  const pictures: RgbImage[] = [];
  for (const { path } of items) pictures.push((await fittedImage(path, { sizes, ...options })).picture);

  const build = (B: number, height: number, width: number, mount: ReturnType<Trained["mount"]>) => () => {
    const images = input("images", "f32", [B, 3, height, width]);
    const { mean, logvar } = encode(mount.weights, config, images);
    const deviation = exp(scale(logvar, 0.5));
    const latents = add(mean, mul(deviation, input("noise", "f32", mean.shape)));
    const off = sub(decode(mount.weights, config, latents), images);
    const all = [0, 1, 2, 3];
    const apart = reduceMean(abs(off), all);
    const spread = sub(add(mul(mean, mean), exp(logvar)), add(logvar, scalar(1)));
    const share = (0.5 * DIVERGENCE * mean.shape.reduce((a, b) => a * b, 1)) / B;
    const loss = reshape(add(apart, scale(reduceMean(spread, all), share)), []);
    return new Map<string, Value>([["loss", loss], ...gradientsOf(loss, mount.parameters)]);
  };

  return {
    rows: items.length,
    evaluate: null,
    close: () => pool.close(),
    step: async (rows, step, stop) => {
      const gradients = new Map<string, Float32Array>();
      let loss = 0;
      for (let at = 0; at < rows.length; at += options.batchSize) {
        if (at > 0 && stop()) return null;
        const part = rows.slice(at, at + options.batchSize);
        const random = randomStream(options.seed, hashText("autoencoder"), step, at);
        const chosen = part.map((row) => {
          const picture = pictures[row]!;
          return options.flip && random.uniform() < 0.5 ? mirrored(picture) : picture;
        });
        const [B, { height, width }] = [chosen.length, chosen[0]!];
        const mount = trained.mount("vae", createStream(1, 1));
        const session = await pool.open(`vae ${B} ${height} ${width}`, build(B, height, width, mount));
        const images = floatTensor([B, 3, height, width]);
        chosen.forEach((picture, i) => {
          images.data.set(fromPicture(picture).data, i * 3 * height * width);
        });
        const factor = pixelsPerLatent(config);
        const noise = floatTensor([B, config.latent_channels, height / factor, width / factor]);
        for (let i = 0; i < noise.data.length; i++) noise.data[i] = random.normal();
        const results = await session.run(new Map([["images", images], ["noise", noise], ...mount.tensors]));
        await session.done();
        const share = B / rows.length;
        loss += share * (results.get("loss")!.data as Float32Array)[0]!;
        const own = new Map<string, Float32Array>();
        for (const [name, { data }] of results) {
          if (name !== "loss")
            own.set(
              name.slice(5),
              (data as Float32Array).map((value) => value * share),
            );
        }
        addGradients(gradients, own);
      }
      return { loss, gradients, images: rows.length };
    },
  };
}
