/** Training of the UNet, and with it of the text encoder: the images of a step, their noise, and their captions. */

import { readNoiseSchedule } from "../diffusion/noise-schedule.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { createSessionPool } from "../diffusion/session-pool.ts";
import { loadTokenizers } from "../diffusion/text-encoding.ts";
import type { Runtime } from "../runtime/session.ts";
import { hashText, type Random, randomStream } from "../tensor/random.ts";
import type { Size } from "./buckets.ts";
import { drawnCaption, withTrigger } from "./captions.ts";
import { type Noised, runPass, snrWeight } from "./denoising.ts";
import type { ImageItem } from "./image-folder.ts";
import { drawLatents, encodeDistribution, fittedImage, mirrored, type PreparedImage, type View } from "./latents.ts";
import { addGradients, type ImageObjective } from "./objective.ts";
import type { ImageTrainOptions } from "./options.ts";
import { textSource } from "./texts.ts";
import type { Trained } from "./trained.ts";

/** Steps of training, as shares of all, at which held-out images are measured. */
const EVALUATED = [0.1, 0.3, 0.5, 0.7, 0.9];

export interface DenoisingData {
  readonly train: readonly ImageItem[];
  readonly held: readonly ImageItem[];
  /** Images of the class that the base is to keep. */
  readonly prior: readonly ImageItem[];
}

export async function denoisingObjective(
  pipeline: Pipeline,
  trained: Trained,
  data: DenoisingData,
  options: ImageTrainOptions,
  { runtime, sizes }: { readonly runtime: Runtime; readonly sizes: readonly Size[] },
): Promise<ImageObjective & { readonly counts: Readonly<Record<string, number>> }> {
  const schedule = readNoiseSchedule(pipeline.scheduler);
  const tokenizers = loadTokenizers(pipeline);
  const session = { threads: options.threads };
  const prepare = async (items: readonly ImageItem[], flip: boolean): Promise<PreparedImage[]> => {
    // The autoencoder's sessions give their memory back before training begins.
    const pool = createSessionPool(runtime, session, 1);
    const prepared: PreparedImage[] = [];
    for (const item of items) {
      const fitted = await fittedImage(item.path, { sizes, ...options });
      const plain = await encodeDistribution(pipeline, pool, fitted.picture);
      const views: View[] = [{ ...plain, sizes: fitted.sizes }];
      if (flip) {
        const turned = await encodeDistribution(pipeline, pool, mirrored(fitted.picture));
        views.push({ ...turned, sizes: fitted.mirroredSizes });
      }
      prepared.push({ item, h: plain.h, w: plain.w, views });
    }
    await pool.close();
    return prepared;
  };
  const train = await prepare(data.train, options.flip);
  const held = await prepare(data.held, false);
  const prior = await prepare(data.prior, options.flip);
  const rows = train.flatMap((image) => Array.from({ length: image.item.repeats }, () => image));
  const pool = createSessionPool(runtime, session, 6);
  const texts = textSource(pipeline, trained);

  /** One image as a step sees it: everything about it is drawn from `random`. */
  const noised = (image: PreparedImage, caption: string, random: Random, at: Partial<Noised>): Noised => {
    const view = image.views[image.views.length > 1 ? random.integer(2) : 0]!;
    const latents = drawLatents(pipeline, view, random);
    const noise = noiseLike(image, latents.length, options.noiseOffset, random);
    const t = at.t ?? random.integer(schedule.steps);
    const weight = (at.weight ?? 1) * snrWeight(schedule, t, options.minSnrGamma);
    return { latents, noise, t, ids: tokenizers.map((each) => each.encode(caption)), sizes: view.sizes, weight };
  };

  const passes = async (
    images: readonly { readonly image: PreparedImage; readonly noised: Noised }[],
    gradients: boolean,
    stop: () => boolean,
  ): Promise<{ loss: number; gradients: ReadonlyMap<string, Float32Array> } | null> => {
    const sum = new Map<string, Float32Array>();
    let loss = 0;
    let first = true;
    for (const group of bySize(images, options.batchSize)) {
      if (!first && stop()) return null;
      first = false;
      const { h, w } = group[0]!.image;
      const batch = group.map((each) => each.noised);
      const result = await runPass(pipeline, trained, batch, { pool, texts, schedule, h, w, gradients });
      loss += result.loss;
      addGradients(sum, result.gradients);
    }
    return { loss, gradients: sum };
  };

  const evaluate = async (): Promise<number> => {
    const images = held.flatMap((image, row) =>
      EVALUATED.map((share, k) => {
        const random = randomStream(0, hashText("evaluation"), row, k);
        const weight = 1 / (held.length * EVALUATED.length);
        const t = Math.floor(share * schedule.steps);
        // Measured without the weights of min-SNR, so that runs compare.
        const drawn = noised(image, withTrigger(image.item.caption, options.trigger), random, { t });
        return { image, noised: { ...drawn, weight } };
      }),
    );
    return (await passes(images, false, () => false))!.loss;
  };

  return {
    rows: rows.length,
    counts: countSizes([...train, ...prior]),
    evaluate: held.length > 0 ? evaluate : null,
    close: () => pool.close(),
    step: async (chosen, step, stop) => {
      const images = chosen.map((row, i) => {
        const image = rows[row]!;
        const random = randomStream(options.seed, hashText("image"), step, i);
        const caption = drawnCaption(image.item.caption, options, random);
        return { image, noised: noised(image, caption, random, { weight: 1 / chosen.length }) };
      });
      const kept = prior.length === 0 ? [] : chosen;
      const before = kept.map((_, i) => {
        const random = randomStream(options.seed, hashText("prior"), step, i);
        const image = prior[random.integer(prior.length)]!;
        const weight = options.priorWeight / chosen.length;
        return { image, noised: noised(image, image.item.caption, random, { weight }) };
      });
      const result = await passes([...images, ...before], true, stop);
      return result && { ...result, images: images.length + before.length };
    },
  };
}

/** Standard normal noise, with `offset` times one more number for each channel (Guttenberg's noise offset). */
function noiseLike({ h, w }: PreparedImage, size: number, offset: number, random: Random): Float32Array {
  const noise = Float32Array.from({ length: size }, () => random.normal());
  if (offset === 0) return noise;
  for (let from = 0; from < size; from += h * w) {
    const shift = offset * random.normal();
    for (let i = from; i < from + h * w; i++) noise[i]! += shift;
  }
  return noise;
}

/** Groups of one size, at most `limit` images each, in their order. */
function bySize<T extends { readonly image: PreparedImage }>(images: readonly T[], limit: number): T[][] {
  const sizes = new Map<string, T[]>();
  for (const each of images) {
    const key = `${each.image.h} ${each.image.w}`;
    const held = sizes.get(key);
    if (held) held.push(each);
    else sizes.set(key, [each]);
  }
  return [...sizes.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / limit) }, (_, i) => group.slice(i * limit, (i + 1) * limit)),
  );
}

function countSizes(images: readonly PreparedImage[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { h, w } of images) counts[`${w}x${h}`] = (counts[`${w}x${h}`] ?? 0) + 1;
  return counts;
}
