/** Training on images, as a stream of events. It reads top to bottom: prepare, resume, steps, evaluation, result. */

import { join } from "node:path";
import { openPipeline, type Pipeline } from "../diffusion/pipeline.ts";
import { pipelineAt } from "../diffusion/precision.ts";
import { readImageLora } from "../diffusion/read-lora.ts";
import { LowrankError, UsageError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/make-folder.ts";
import { pixelsPerLatent } from "../models/autoencoder-kl.ts";
import { locateModel } from "../models/locate.ts";
import type { Runtime } from "../runtime/session.ts";
import { sizeOf } from "../tensor/shape.ts";
import { adamwStep, clipFactor, globalNorm } from "../train/adamw.ts";
import { averageStep, exchange } from "../train/average.ts";
import { type OrderOptions, rowsOfStep, stepsPerEpoch } from "../train/order.ts";
import { scheduleFactor } from "../train/schedule.ts";
import { listCheckpoints, saveState } from "../train/state.ts";
import { autoencoderObjective } from "./autoencoder-objective.ts";
import { bucketSizes, checkSide, type Size } from "./buckets.ts";
import { withTrigger } from "./captions.ts";
import { drawClassImages } from "./class-images.ts";
import { denoisingObjective } from "./denoising-objective.ts";
import type { ImageEvalEvent, ImageSampleEvent, ImageStepEvent, ImageTrainEvent } from "./events.ts";
import { type ImageItem, readImageFolder } from "./image-folder.ts";
import type { ImageObjective } from "./objective.ts";
import { type ImageTrainInput, type ImageTrainOptions, imageTrainOptions } from "./options.ts";
import { fingerprintOf, type Seen, startState } from "./resume.ts";
import { drawSamples } from "./samples.ts";
import { saveTrained } from "./save.ts";
import { type Trained, trainedBranches, trainedWhole } from "./trained.ts";

/** Options, history and times of a finished run, in its folder. */
const REPORT_FILE = "training.json";

export interface ImageTrainEnvironment {
  readonly runtime: Runtime;
  /** Asked between passes and steps; true saves a checkpoint and ends the run. */
  stopRequested?(): boolean;
}

/** Trains in this thread. Throws LowrankError for options, images or models that cannot work, before the first step. */
export async function* trainImagesHere(
  input: ImageTrainInput,
  { runtime, stopRequested = () => false }: ImageTrainEnvironment,
): AsyncGenerator<ImageTrainEvent> {
  const started = performance.now();
  const options = imageTrainOptions(input);
  const opened = openPipeline(locateModel(options.model), options);
  refuse(opened, options);
  const pipeline = await pipelineAt(opened, options.precision, { ...options, runtime });
  yield* drawClassImages(pipeline, options, runtime);
  const read = (folder: string | null): readonly ImageItem[] => (folder === null ? [] : readImageFolder(folder));
  const data = { train: read(options.data), held: read(options.evalData), prior: read(options.classData) };
  const sizes = sizesOf(pipeline, options);
  const trained = trainedBy(pipeline, options);
  const fingerprint = fingerprintOf(pipeline, options, [...data.train, ...data.held, ...data.prior]);
  const { method } = options;

  let objective: ImageObjective | null = null;
  try {
    makeFolder(options.out); // told now, not after hours, when it cannot be written
    let counts: Readonly<Record<string, number>> = {};
    if (method === "autoencoder") {
      objective = await autoencoderObjective(pipeline, trained, data.train, options, { runtime, sizes });
    } else {
      const made = await denoisingObjective(pipeline, trained, data, options, { runtime, sizes });
      const factor = pixelsPerLatent(pipeline.vae.config);
      counts = Object.fromEntries(
        Object.entries(made.counts).map(([size, count]) => [
          size.replace(/\d+/g, (side) => String(Number(side) * factor)),
          count,
        ]),
      );
      objective = made;
    }
    const order: OrderOptions = { ...options, rows: objective.rows };
    const total = options.maxSteps ?? Math.ceil(options.epochs * stepsPerEpoch(order));
    const state = startState(options, trained, fingerprint, total);
    const history: Seen[] = [...state.history];
    const facts = { images: data.train.length, steps: total, tags: tagsOf(data.train, options.trigger) };
    /** Around whatever looks at the tensors: they are the average's meanwhile. */
    const swap = (): void => void (state.average && exchange(state.average, trained.parameters));
    const save = (folder: string): readonly string[] => {
      swap();
      const files = saveTrained(folder, pipeline, trained, options, facts);
      swap();
      return files;
    };
    const checkpoint = (step: number): string =>
      saveState<Seen>(
        options.out,
        { ...state, step, parameters: trained.parameters, history },
        options.saveLimit,
        (folder) => void save(folder),
      );
    yield {
      event: "start",
      method,
      trainableParameters: count(trained),
      totalParameters: parametersOf(pipeline) + (method === "lora" ? count(trained) : 0),
      targets: trained.targets,
      images: data.train.length,
      classImages: data.prior.length,
      sizes: counts,
      steps: total,
      threads: options.threads,
      ...(state.step === 0 ? {} : { resumedFrom: state.step }),
    };
    const silent = data.train.filter(({ caption }) => caption === "").length;
    if (silent > 0 && options.trigger === null && method !== "autoencoder") {
      const message = `${silent} of ${data.train.length} images have no caption, and there is no --trigger: nothing will call what they teach.`;
      yield { event: "warning", message };
    }
    const learningRate = options.lr ?? (method === "lora" ? 1e-4 : 1e-5);
    const textRate = options.textLr === null || learningRate === 0 ? 1 : options.textLr / learningRate;
    const rateOf = (key: string): number => (key.startsWith("text_encoder") ? textRate : 1);
    const evalEvery = options.evalSteps ?? stepsPerEpoch(order);
    const sampleEvery = options.sampleSteps ?? evalEvery;
    const evaluate = async (step: number): Promise<ImageEvalEvent> => {
      swap();
      const event = { event: "eval", step, loss: await objective!.evaluate!() } as const;
      swap();
      history.push(event);
      return event;
    };
    const sample = async function* (step: number): AsyncGenerator<ImageSampleEvent> {
      swap();
      for await (const event of drawSamples(pipeline, trained.adapter, options, step, runtime)) {
        history.push(event);
        yield event;
      }
      swap();
    };
    if (objective.evaluate && history.length === 0) yield await evaluate(0);
    if (options.samplePrompts.length > 0 && !history.some(({ event }) => event === "sample")) yield* sample(0);

    for (let step = state.step + 1; step <= total; step++) {
      const begun = performance.now();
      const result = await objective.step(rowsOfStep(order, step), step, stopRequested);
      if (result === null) {
        // Asked to stop in the middle of the step, of which nothing has been applied.
        const path = checkpoint(step - 1);
        yield { event: "checkpoint", step: step - 1, path };
        yield { event: "interrupted", step: step - 1, path };
        return;
      }
      const { loss, gradients, images } = result;
      const gradNorm = globalNorm(gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
        throw new LowrankError(
          `Step ${step}: the loss is ${loss} and the gradient's norm ${gradNorm}. Lower --lr${state.step > 0 || listCheckpoints(options.out).length > 0 ? " and go on from an earlier checkpoint with --resume DIR" : ""}.`,
        );
      }
      const rate = learningRate * scheduleFactor(options.scheduler, step, options.warmupSteps, total);
      const factor = clipFactor(gradNorm, options.maxGradNorm);
      adamwStep(trained.parameters, gradients, state.moments, options, { step, learningRate: rate, factor, rateOf });
      if (state.average) averageStep(state.average, trained.parameters, { step, decay: options.ema! });
      const seconds = (performance.now() - begun) / 1000;
      const event: ImageStepEvent = {
        event: "step",
        step,
        loss,
        gradNorm,
        learningRate: rate,
        images,
        imagesPerSecond: images / seconds,
        seconds,
      };
      history.push(event);
      yield event;
      if (objective.evaluate && (step % evalEvery === 0 || step === total)) yield await evaluate(step);
      if (options.samplePrompts.length > 0 && (step % sampleEvery === 0 || step === total)) yield* sample(step);
      const stopped = step < total && stopRequested();
      if (stopped || (options.saveSteps !== null && (step % options.saveSteps === 0 || step === total))) {
        const path = checkpoint(step);
        yield { event: "checkpoint", step, path };
        if (stopped) {
          yield { event: "interrupted", step, path };
          return;
        }
      }
    }

    const steps = history.filter((event) => event.event === "step");
    const speeds = (steps.length > 1 ? steps.slice(1) : steps)
      .map(({ imagesPerSecond }) => imagesPerSecond)
      .toSorted((a, b) => a - b);
    const done = {
      event: "done",
      out: options.out,
      files: save(options.out),
      steps: total,
      loss: steps.at(-1)?.loss ?? Number.NaN,
      seconds: (performance.now() - started) / 1000,
      imagesPerSecond: speeds[Math.floor(speeds.length / 2)] ?? 0,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    } as const;
    writeJsonAtomic(join(options.out, REPORT_FILE), { options, base: fingerprint["base"], history, done });
    yield done;
  } finally {
    await objective?.close();
  }
}

function refuse(pipeline: Pipeline, options: ImageTrainOptions): void {
  if (options.method !== "autoencoder" && pipeline.unet.config.time_cond_proj_dim !== null) {
    throw new UsageError(
      `${pipeline.folder}: a model distilled with a guidance embedding cannot be trained. Train on the model that it was made of.`,
    );
  }
  if (options.classPrompt !== null && options.classData === null) {
    throw new UsageError(`--class-prompt needs the folder to draw into: --class-data DIR.`);
  }
  if (options.method !== "lora" && options.samplePrompts.length > 0) {
    throw new UsageError(`--sample-prompts goes with --method lora. Leave one of them away.`);
  }
  if (options.method !== "lora" && options.precision !== "fp32") {
    throw new UsageError(`--precision ${options.precision} goes with --method lora: whole models are trained in fp32.`);
  }
  if (options.method !== "lora" && options.initAdapter !== null) {
    throw new UsageError(`--init-adapter goes with --method lora. Merge it into a model to train that whole.`);
  }
}

function sizesOf({ unet, vae }: Pipeline, { resolution, buckets, bucketStep }: ImageTrainOptions): readonly Size[] {
  const factor = pixelsPerLatent(vae.config);
  const side = resolution ?? unet.config.sample_size * factor;
  checkSide(side, factor, "--resolution");
  if (!buckets) return [[side, side]];
  checkSide(bucketStep, factor, "--bucket-step");
  const sizes = bucketSizes(side, bucketStep);
  if (sizes.length > 0) return sizes;
  throw new UsageError(`--bucket-step ${bucketStep} leaves no size at --resolution ${side}. Lower it.`);
}

function trainedBy(pipeline: Pipeline, options: ImageTrainOptions): Trained {
  const { method, initAdapter, trainTextEncoder } = options;
  if (method === "autoencoder") return trainedWhole(pipeline, ["vae"]);
  const encoders = pipeline.textEncoders.map(({ component }) => component);
  if (method === "full") return trainedWhole(pipeline, ["unet", ...(trainTextEncoder ? encoders : [])]);
  return trainedBranches(pipeline, options, initAdapter === null ? null : readImageLora(initAdapter, pipeline).adapter);
}

function tagsOf(items: readonly ImageItem[], trigger: string | null): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { caption, repeats } of items) {
    for (const tag of withTrigger(caption, trigger).split(",")) {
      const name = tag.trim();
      if (name !== "") counts[name] = (counts[name] ?? 0) + repeats;
    }
  }
  return counts;
}

function count({ parameters }: Trained): number {
  return [...parameters.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

function parametersOf({ unet, vae, textEncoders }: Pipeline): number {
  return [unet, vae, ...textEncoders].reduce((sum, { trace }) => sum + trace.parameters, 0);
}
