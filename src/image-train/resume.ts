/** Where a run starts: fresh, or from a checkpoint of the same run. */

import { statSync } from "node:fs";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { LowrankError } from "../errors.ts";
import { sampleFile } from "../files/fingerprint.ts";
import { createMoments } from "../train/adamw.ts";
import { startAverage } from "../train/average.ts";
import { listCheckpoints, loadState, type RunState } from "../train/state.ts";
import type { ImageEvalEvent, ImageSampleEvent, ImageStepEvent } from "./events.ts";
import type { ImageItem } from "./image-folder.ts";
import type { ImageTrainOptions } from "./options.ts";
import type { Trained } from "./trained.ts";

/** What a run keeps of its events. */
export type Seen = ImageStepEvent | ImageEvalEvent | ImageSampleEvent;

/** Everything that must be the same in a run that goes on. */
export function fingerprintOf(
  pipeline: Pipeline,
  options: ImageTrainOptions,
  items: readonly ImageItem[],
): Record<string, unknown> {
  const {
    out: _out,
    maxSteps: _steps,
    epochs: _epochs,
    resume: _resume,
    threads: _threads,
    saveSteps: _saves,
    saveLimit: _limit,
    samplePrompts: _prompts,
    sampleSteps: _sampled,
    model: _model,
    tokenizer: _tokenizer,
    modelConfig: _config,
    cacheDir: _cache,
    data: _data,
    evalData: _held,
    classData: _prior,
    classPrompt: _prompt,
    numClassImages: _drawn,
    ...kept
  } = options;
  return {
    ...kept,
    base: pipeline.files.map(sampleFile).join(" "),
    data: items.map(({ path, caption, repeats }) => [path, statSync(path).size, caption, repeats]),
  };
}

/** A fresh state, or that of the checkpoint that `--resume` names, whose tensors go into `trained`. */
export function startState(
  options: ImageTrainOptions,
  { parameters }: Trained,
  fingerprint: Record<string, unknown>,
  total: number,
): RunState<Seen> {
  const newest = listCheckpoints(options.out).at(-1);
  if (options.resume === false && newest) {
    throw new LowrankError(
      `${options.out} holds checkpoints of an earlier run (${newest.path}). Go on from them with --resume, or choose another --out.`,
    );
  }
  const path = options.resume === true ? newest?.path : options.resume;
  if (path === undefined || path === false) {
    const average = options.ema === null ? null : startAverage(parameters);
    const moments = createMoments(parameters);
    return { step: 0, parameters, moments, average, best: null, fingerprint, total, history: [] };
  }
  const state = loadState<Seen>(path, { fingerprint, total }, parameters);
  for (const [key, { data }] of state.parameters) parameters.get(key)!.data.set(data);
  return state;
}
