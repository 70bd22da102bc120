/** `lowrank image train` */

import { IMAGE_PRECISIONS } from "../../diffusion/precision.ts";
import type { ImageTrainEvent } from "../../image-train/events.ts";
import { IMAGE_METHODS, type ImageTrainInput } from "../../image-train/options.ts";
import { TARGET_SETS } from "../../image-train/targets.ts";
import { SCHEDULERS } from "../../train/schedule.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Call, type Command, defineCommand } from "../command.ts";
import { commandLine } from "../command-line.ts";
import type { FlagsOf, FlagTable } from "../flags.ts";
import { IMAGE_MODEL_FLAGS, imageModel } from "../image-model.ts";
import { imageTrainProgress } from "../image-train-progress.ts";
import { followRun } from "../long-run.ts";
import { defaultThreads } from "../threads.ts";

const flags = {
  model: {
    type: "string",
    value: "DIR",
    required: true,
    help: "Base: a diffusers folder, a single file, a hub id, or embedded:NAME",
  },
  ...IMAGE_MODEL_FLAGS,
  data: { type: "string", value: "DIR", required: true, help: "Folder of images with captions" },
  out: { type: "string", value: "DIR", required: true, help: "Folder for the LoRA files and checkpoints" },
  method: { type: "string", choices: IMAGE_METHODS, help: "LoRA, the whole UNet, or the autoencoder" },
  precision: { type: "string", choices: IMAGE_PRECISIONS, help: "Arithmetic of the frozen base" },
  evalData: { type: "string", value: "DIR", help: "Held-out images, measured at fixed noise" },
  trigger: { type: "string", value: "WORDS", help: "Put before each caption; the caption where there is none" },
  classData: { type: "string", value: "DIR", help: "Images of the class to keep (prior preservation)" },
  classPrompt: {
    type: "string",
    value: "TEXT",
    help: "What the base draws into --class-data while images are missing",
  },
  numClassImages: { type: "integer", help: "How many images of the class there are to be" },
  priorWeight: { type: "number", help: "Weight of their loss" },
  initAdapter: { type: "string", value: "FILE", help: "Go on training this LoRA file" },
  r: { type: "integer", help: "Rank" },
  alpha: { type: "number", help: "Updates count alpha / r (r)" },
  targets: { type: "string", choices: TARGET_SETS, help: "Layers: diffusers' choice, or kohya's" },
  targetModules: { type: "list", help: "Names or their ends, in place of --targets" },
  convR: { type: "integer", help: "Rank for 3x3 convolutions; 0 leaves them alone" },
  convAlpha: { type: "number", help: "Their alpha (conv-r)" },
  init: { type: "string", choices: ["kaiming", "gaussian"], help: "Initial values of A" },
  trainTextEncoder: { type: "boolean", help: "Train the text encoder as well" },
  textLr: { type: "number", help: "Its learning rate (--lr)" },
  captionDropout: { type: "number", help: "Share of captions left empty" },
  shuffleTags: { type: "boolean", help: "Shuffle what stands between commas" },
  keepTokens: { type: "integer", help: "First tags that stay in place" },
  resolution: { type: "integer", help: "Pixels a side (the model's own)" },
  buckets: { type: "boolean", help: "Keep the images' shapes, in buckets of the same area" },
  bucketStep: { type: "integer", help: "Sides of buckets are multiples of this" },
  crop: { type: "string", choices: ["center", "random"], help: "Part of an image that is taken" },
  flip: { type: "boolean", help: "Mirror half of the images" },
  batchSize: { type: "integer", help: "Images of one pass" },
  gradAccum: { type: "integer", help: "Passes that one step adds up" },
  epochs: { type: "number", help: "Times over the images" },
  maxSteps: { type: "integer", help: "Steps in all, instead of epochs" },
  lr: { type: "number", help: "Learning rate (1e-4; 1e-5 for whole models)" },
  scheduler: { type: "string", choices: SCHEDULERS, help: "Course of the learning rate" },
  warmupSteps: { type: "integer", help: "Steps in which the learning rate rises" },
  weightDecay: { type: "number", help: "AdamW's weight decay" },
  betas: { type: "numbers", help: "AdamW's averages" },
  eps: { type: "number", help: "AdamW's epsilon" },
  maxGradNorm: { type: "number", help: "Gradients are scaled down to this norm; 0 never" },
  ema: { type: "number", help: "Measure and save a running average with this decay (0.999 is usual)" },
  minSnrGamma: { type: "number", help: "Weigh steps of noise by min-SNR with this gamma (5 is usual)" },
  noiseOffset: { type: "number", help: "Shift of each channel's noise" },
  seed: { type: "integer", help: "Fixes initial values, order, noise and crops" },
  shuffle: { type: "boolean", help: "Take images in the order of their names" },
  evalSteps: { type: "integer", help: "Steps between evaluations (an epoch)" },
  samplePrompts: { type: "string", value: "TEXT|FILE", help: "Prompts to draw on the way, one a line" },
  sampleSteps: { type: "integer", help: "Steps between those (as evaluations)" },
  saveSteps: { type: "integer", help: "Steps between checkpoints (only when interrupted)" },
  saveLimit: { type: "integer", help: "Checkpoints kept" },
  resume: { type: "optional", value: "DIR", help: "Go on from the newest checkpoint of --out, or from this one" },
  threads: { type: "integer", help: "Threads to compute with (one a core)" },
} as const satisfies FlagTable;

const command: Command = defineCommand({
  summary: "Train a LoRA for Stable Diffusion on a folder of images",
  usage: "--model DIR --data DIR --out DIR [options]",
  flags,
  events: true,
  defaults: async () => {
    const { imageTrainOptions } = await import("../../image-train/options.ts");
    return { ...imageTrainOptions({ model: "", data: "", out: "" }), samplePrompts: null, threads: null };
  },
  notes: `An image's caption is the text file of its name beside it (cat.png, cat.txt), or a line of metadata.jsonl:
{"file_name": "cat.png", "text": "a cat"}. A folder called 10_NAME repeats its images ten times. PNG needs nothing;
JPEG and WebP need the package sharp (npm install sharp).
Ctrl-C saves a checkpoint and ends; the same command with --resume goes on.

  lowrank image train --model stable-diffusion-v1-5 --data photos --trigger "zig cat" --out runs/zig --r 16`,
  run: imageTrainCommand,
});

export default command;

async function imageTrainCommand({ flags: given, output }: Call<typeof flags>): Promise<number> {
  const { trainImages } = await import("../../image-train/start.ts");
  return followRun<ImageTrainEvent>({
    run: trainImages(await inputOf(given)),
    output,
    progress: imageTrainProgress(output),
    writePage: async (out, events) => {
      const { writeImageTrainPage } = await import("../image-train-page.ts");
      return writeImageTrainPage(out, events, commandLine());
    },
  });
}

async function inputOf(given: FlagsOf<typeof flags>): Promise<ImageTrainInput> {
  const {
    config: _config,
    json: _json,
    debug: _debug,
    samplePrompts,
    model,
    tokenizer,
    modelConfig,
    prediction,
    ...options
  } = given as FlagsOf<typeof flags> & Record<string, unknown>;
  const { existsSync } = await import("node:fs");
  const prompts = async (text: string): Promise<string[]> => {
    if (!existsSync(text)) return [text];
    const { readTextFile } = await import("../../files/text-file.ts");
    return readTextFile(text)
      .split(/\r?\n/)
      .filter((line) => line.trim() !== "");
  };
  return {
    threads: defaultThreads(),
    cacheDir: cacheFolder(),
    ...options,
    ...(await imageModel({ model, tokenizer, modelConfig, prediction })),
    ...(samplePrompts === undefined ? {} : { samplePrompts: await prompts(samplePrompts) }),
  } as unknown as ImageTrainInput;
}
