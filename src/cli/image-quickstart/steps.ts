/** The image quickstart's work: training a style, drawing the grids, and what can be measured of it all. */

import { join } from "node:path";
import type { ImageAdapter } from "../../diffusion/adapter.ts";
import { openDenoiser } from "../../diffusion/denoiser.ts";
import { openImageGenerator, type WeightedAdapter } from "../../diffusion/generate.ts";
import { mergeImageLora } from "../../diffusion/merge-lora.ts";
import { openPipeline, type Pipeline } from "../../diffusion/pipeline.ts";
import { evenWeights } from "../../diffusion/prompt.ts";
import { readImageLora } from "../../diffusion/read-lora.ts";
import { createSessionPool } from "../../diffusion/session-pool.ts";
import { encodePrompts, loadTokenizers } from "../../diffusion/text-encoding.ts";
import { encodePng, type RgbImage } from "../../files/png.ts";
import { trainImages } from "../../image-train/start.ts";
import { locateModel } from "../../models/locate.ts";
import type { PictureGrid } from "../../report/image-quickstart-report.ts";
import { nodeRuntime } from "../../runtime/node.ts";
import { randomStream } from "../../tensor/random.ts";
import type { Output } from "../output.ts";
import { captionOf } from "./shapes.ts";
import { called, SHOWN, type StyleLesson } from "./styles.ts";

export const IMAGE_BASE = "embedded:diffusion-tiny";
/** Guidance of every picture. */
const GUIDANCE = 3;
/** Of the sweeps; the last is that of the styled pictures. */
const WEIGHTS = [0, 0.25, 0.5, 0.75, 1] as const;

interface Place {
  readonly out: string;
  readonly threads: number;
  readonly output: Output;
}

export interface TrainedStyle {
  readonly style: StyleLesson;
  readonly path: string;
  readonly evalLossBefore: number;
  readonly evalLossAfter: number;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly seconds: number;
}

/** Trains one style's LoRA; the result is measured on pictures that training never sees. */
export async function trainStyle(
  style: StyleLesson,
  { out, threads, output, steps }: Place & { readonly steps: number },
): Promise<TrainedStyle> {
  const folder = join(out, style.name);
  const run = trainImages({
    model: locateModel(IMAGE_BASE),
    data: join(out, "pictures", style.name),
    evalData: join(out, "pictures", `${style.name}-held-out`),
    out: folder,
    targets: "transformer",
    r: 8,
    convR: 8,
    trainTextEncoder: true,
    batchSize: 8,
    maxSteps: steps,
    evalSteps: steps,
    lr: 2e-3,
    scheduler: "cosine",
    warmupSteps: 10,
    threads,
  });
  const evals: number[] = [];
  let facts = { trainableParameters: 0, totalParameters: 0, seconds: 0, path: "" };
  for await (const event of run) {
    if (event.event === "start") {
      const { trainableParameters, totalParameters } = event;
      facts = { ...facts, trainableParameters, totalParameters };
    }
    if (event.event === "eval") evals.push(event.loss);
    if (event.event === "step") {
      output.progress(`${style.name}  step ${event.step}/${steps}  loss ${event.loss.toFixed(3)}`);
    }
    if (event.event === "done") facts = { ...facts, seconds: event.seconds, path: event.files[0]! };
  }
  const [before, after] = [evals[0]!, evals.at(-1)!];
  output.line(
    `${style.name.padEnd(8)}${style.description}\n        held-out loss ${before.toFixed(4)} -> ${after.toFixed(4)} (${(100 * (after / before - 1)).toFixed(0)} %) in ${facts.seconds.toFixed(0)} s; ${facts.path}`,
  );
  return { style, evalLossBefore: before, evalLossAfter: after, ...facts };
}

export interface StyleMeasures {
  /** The style's number on average over the shown prompts. */
  readonly scoreBase: number;
  readonly scoreStyled: number;
  /** With the adapter, but without its trigger. */
  readonly scoreWithoutTrigger: number;
  /** Mean difference of pixels, 0 to 1, to the base's pictures, with the adapter but without its trigger. */
  readonly priorDrift: number;
  /** Largest difference between predictions of the merged pipeline and of base plus adapter. */
  readonly mergeMaxAbsDiff: number;
}

export interface Measured {
  readonly styles: readonly StyleMeasures[];
  /** Whether pictures at weight 0 have the base's bytes. */
  readonly weightZeroEqualsBase: boolean;
  readonly grids: readonly PictureGrid[];
}

type Draw = (prompt: string, adapters: readonly WeightedAdapter[], seed: number) => Promise<RgbImage>;

/** Draws every grid and measures it. */
export async function measure(
  pipeline: Pipeline,
  trained: readonly TrainedStyle[],
  { out, threads, output, drawSteps }: Place & { readonly drawSteps: number },
): Promise<Measured> {
  const generator = openImageGenerator(pipeline, nodeRuntime, { threads, keepSessions: 12 });
  const draw: Draw = async (prompt, adapters, seed) => {
    for await (const event of generator.generate({ prompt, adapters, seed, steps: drawSteps, guidance: GUIDANCE })) {
      if (event.event === "image") return event.picture;
    }
    throw new Error("the generator ended without a picture");
  };
  try {
    const loras = trained.map(({ style, path }) => ({
      style,
      adapter: readImageLora(path, pipeline).adapter,
    }));
    const at = ({ style, adapter }: (typeof loras)[number], weight: number): WeightedAdapter => ({
      name: style.name,
      adapter,
      weights: evenWeights(weight),
    });
    const captions = SHOWN.map(captionOf);
    const row = async (
      prompt: (caption: string) => string,
      adapters: readonly WeightedAdapter[],
    ): Promise<RgbImage[]> => {
      const pictures: RgbImage[] = [];
      for (const [i, caption] of captions.entries()) pictures.push(await draw(prompt(caption), adapters, 100 + i));
      return pictures;
    };
    const base = await row((caption) => caption, []);
    output.line("drawing the grids");
    const styles: StyleMeasures[] = [];
    const rows: { label: string; pictures: RgbImage[] }[] = [{ label: "base", pictures: base }];
    const sweeps: PictureGrid[] = [];
    let zero = true;
    for (const [i, lora] of loras.entries()) {
      const { style } = lora;
      const prompted = (caption: string): string => called(caption, style.trigger);
      const styled = await row(prompted, [at(lora, 1)]);
      const without = await row((caption) => caption, [at(lora, 1)]);
      const average = (pictures: readonly RgbImage[]): number =>
        pictures.reduce((sum, picture) => sum + style.score(picture), 0) / pictures.length;
      const merged = join(out, `${style.name}-merged`);
      mergeImageLora(pipeline, [[lora.adapter, 1]], merged);
      styles.push({
        scoreBase: average(base),
        scoreStyled: average(styled),
        scoreWithoutTrigger: average(without),
        priorDrift: base.reduce((sum, picture, k) => sum + distance(picture, without[k]!), 0) / base.length,
        mergeMaxAbsDiff: await mergeDifference(
          pipeline,
          openPipeline(merged),
          lora.adapter,
          prompted(captions[0]!),
          threads,
        ),
      });
      rows.push({ label: `${style.name}: “…, ${style.trigger}”`, pictures: styled });
      const plain = await draw(prompted(captions[0]!), [], 100);
      const off = await draw(prompted(captions[0]!), [at(lora, 0)], 100);
      zero &&= Buffer.compare(plain.data, off.data) === 0;
      const steps: RgbImage[][] = [];
      for (const weight of WEIGHTS) steps.push(weight === 1 ? styled : await row(prompted, [at(lora, weight)]));
      sweeps.push({
        caption: `${style.name} at weights from 0 to 1`,
        heads: WEIGHTS.map(String),
        rows: captions.map((label, k) => ({ label, pictures: steps.map((all) => shown(all[k]!, label)) })),
      });
      const measures = styles[i]!;
      output.line(
        `${style.name.padEnd(8)}${style.measured}: base ${measures.scoreBase.toFixed(3)}, styled ${measures.scoreStyled.toFixed(3)}, without trigger ${measures.scoreWithoutTrigger.toFixed(3)}; merged differs by ${measures.mergeMaxAbsDiff.toExponential(1)}`,
      );
    }
    const triggers = loras.map(({ style }) => style.trigger).join(", ");
    const blended = await row(
      (caption) => called(caption, triggers),
      loras.map((lora) => at(lora, 0.6)),
    );
    rows.push({ label: "both at 0.6", pictures: blended });
    const all: PictureGrid = {
      caption: "The same prompts and noise: base, each style, both",
      heads: captions,
      rows: rows.map(({ label, pictures }) => ({
        label,
        pictures: pictures.map((picture, k) => shown(picture, `${label}: ${captions[k]}`)),
      })),
    };
    return { styles, weightZeroEqualsBase: zero, grids: [all, ...sweeps] };
  } finally {
    await generator.close();
  }
}

function shown(picture: RgbImage, text: string): { png: Uint8Array; text: string } {
  return { png: encodePng(picture), text };
}

/** Mean difference of pixels, 0 to 1. */
function distance(a: RgbImage, b: RgbImage): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += Math.abs(a.data[i]! - b.data[i]!);
  return sum / a.data.length / 255;
}

/** Largest difference between what two pipelines predict of the same sample: merged, and base with adapter. */
async function mergeDifference(
  base: Pipeline,
  merged: Pipeline,
  adapter: ImageAdapter,
  prompt: string,
  threads: number,
): Promise<number> {
  const { sample_size: side, in_channels: channels } = base.unet.config;
  const random = randomStream(1, 2);
  const sample = Float32Array.from({ length: channels * side * side }, () => random.normal());
  const predict = async (pipeline: Pipeline, mounted: ImageAdapter): Promise<Float32Array> => {
    const pool = createSessionPool(nodeRuntime, { threads }, 0);
    const branches = (component: string) => [{ prefix: "", branches: mounted.get(component) ?? new Map() }];
    const options = { pool, branches, clipSkip: null };
    const conditions = await encodePrompts(pipeline, loadTokenizers(pipeline), [prompt], options);
    const denoiser = await openDenoiser(pipeline, {
      pool,
      branches: branches("unet"),
      h: side,
      w: side,
      guidance: 1,
      guidanceRescale: 0,
      conditions,
    });
    const predicted = await denoiser.predict(sample, 500);
    await denoiser.done();
    await pool.close();
    return predicted;
  };
  const [one, two] = [await predict(base, adapter), await predict(merged, new Map())];
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - two[i]!)), 0);
}
