/**
 * LoRA for Node: fine-tune, evaluate, merge and run low-rank adapters, with PEFT's files and PEFT's numbers.
 * ONNX Runtime is loaded when the first function needs it.
 */

import type { AdapterInfo } from "./adapters/info.ts";
import { UsageError } from "./errors.ts";
import type { Embeddings, EmbedInput } from "./evaluate/embed.ts";
import type { Evaluation } from "./evaluate/evaluate.ts";
import type { EvaluateInput } from "./evaluate/run.ts";
import type { BaseThread } from "./generate/base-thread.ts";
import type { LoadOptions } from "./generate/load.ts";
import type { HubSettings } from "./hub/settings.ts";
import type { HubContent, SnapshotOptions } from "./hub/snapshot.ts";
import type { MergeInput, MergeResult } from "./merge/merge.ts";
import type { MergePipelineInput, MergePipelineResult } from "./merge/merge-pipeline.ts";

export type { AdapterInfo } from "./adapters/info.ts";
export type { FloatType } from "./adapters/merge.ts";
export {
  AdapterMismatchError,
  DataError,
  FormatError,
  GraphError,
  LowrankError,
  ModelError,
  UsageError,
} from "./errors.ts";
export type { AdapterChoice } from "./evaluate/adapters.ts";
export type { Embeddings, EmbedInput } from "./evaluate/embed.ts";
export type { Evaluation } from "./evaluate/evaluate.ts";
export type { EvaluateInput } from "./evaluate/run.ts";
export type { BaseThread as LoadedBase, LoadedAdapter } from "./generate/base-thread.ts";
export type { Completion, CompletionOptions, GenerateOptions, Prompt } from "./generate/generate.ts";
export type { GeneratingBase, GenerationLoad, LoadOptions } from "./generate/load.ts";
export { ADAPTER_MODES, type AdapterMode } from "./generate/modes.ts";
export type { Sampling, TokenProbability } from "./generate/sample.ts";
export type { FinishReason, Piece, TokenLogprobs } from "./generate/sequence.ts";
export type { DownloadProgress } from "./hub/download.ts";
export { type HubSettings, hubSettings } from "./hub/settings.ts";
export type {
  ClassImageEvent,
  ImageDoneEvent,
  ImageEvalEvent,
  ImageSampleEvent,
  ImageStartEvent,
  ImageStepEvent,
  ImageTrainEvent,
} from "./image-train/events.ts";
export type { ImageTrainInput, ImageTrainOptions } from "./image-train/options.ts";
export type { MergeInput, MergeResult } from "./merge/merge.ts";
export type { MergePipelineInput, MergePipelineResult } from "./merge/merge-pipeline.ts";
export { TASKS, type Task } from "./task.ts";
export type {
  CheckpointEvent,
  DoneEvent,
  EvalEvent,
  InterruptedEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  WarningEvent,
} from "./train/events.ts";
export type { TrainInput, TrainOptions } from "./train/options.ts";
export { SCHEDULERS, type Scheduler } from "./train/schedule.ts";
export { type TrainRun, train } from "./train/start.ts";

/**
 * Loss over a whole file and the task's metrics, of a base with any adapters, as their weighted sum.
 * Throws LowrankError for data, models or adapters that do not fit.
 *
 * @example
 * const { loss } = await evaluate({
 *   model: "embedded:gpt2-tiny",
 *   data: "valid.jsonl",
 *   adapters: [{ name: "mine", path: "runs/mine", weight: 1 }],
 * });
 */
export async function evaluate(input: EvaluateInput): Promise<Evaluation> {
  const [{ evaluateHere }, { runtimeOn }] = await Promise.all([
    import("./evaluate/run.ts"),
    import("./runtime/devices.ts"),
  ]);
  return evaluateHere(input, runtimeOn(input.device ?? "cpu"));
}

/**
 * Vectors of texts, by a base with any adapters. Pooling and scaling are those of a sentence-transformers folder; without
 * its files, the mean of all tokens.
 */
export async function embed(input: EmbedInput): Promise<Embeddings> {
  const [{ embedHere }, { nodeRuntime }] = await Promise.all([
    import("./evaluate/embed.ts"),
    import("./runtime/node.ts"),
  ]);
  return embedHere(input, nodeRuntime);
}

/**
 * Writes a model with adapters merged into it, as a folder that transformers loads, and measures what merging changed.
 * Throws UsageError for adapters that are no weights (prompts, prefixes).
 */
export async function merge(input: MergeInput): Promise<MergeResult> {
  const [{ mergeHere }, { nodeRuntime }] = await Promise.all([import("./merge/merge.ts"), import("./runtime/node.ts")]);
  return mergeHere(input, nodeRuntime);
}

/**
 * Trains on a folder of images, in a thread of its own, and gives its events as they happen; `stop()` ends it after a
 * checkpoint. The iteration throws LowrankError for options, images or models that cannot work.
 *
 * @example
 * for await (const event of trainImages({ model: "stable-diffusion-v1-5", data: "photos", trigger: "zig cat", out: "runs/zig" })) {
 *   if (event.event === "step") losses.push(event.loss);
 * }
 */
export { trainImages } from "./image-train/start.ts";

/**
 * Writes a diffusion pipeline with image LoRAs merged into it, as a diffusers folder, and measures what merging changed.
 * Throws AdapterMismatchError for files of another base.
 */
export async function mergePipeline(input: MergePipelineInput): Promise<MergePipelineResult> {
  const [{ mergePipelineHere }, { nodeRuntime }] = await Promise.all([
    import("./merge/merge-pipeline.ts"),
    import("./runtime/node.ts"),
  ]);
  return mergePipelineHere(input, nodeRuntime);
}

/** What a PEFT folder holds, told without its base. Throws ModelError when it is no adapter. */
export async function adapterInfo(path: string): Promise<AdapterInfo> {
  const info = await import("./adapters/info.ts");
  return info.adapterInfo(path);
}

/**
 * A base in memory that generates text with any adapters, on a thread of its own: the caller's stays free. `close()` ends
 * it. `name` is a Hugging Face folder, a GGUF file or `embedded:NAME`.
 *
 * @example
 * const base = await load("embedded:gpt2-tiny");
 * const adapter = await base.adapter("runs/mine");
 * const { text } = await base.complete({ prompt: "Once", adapters: [[adapter, 0.7]] });
 * await base.close();
 */
export async function load(name: string, options: LoadOptions = {}): Promise<BaseThread> {
  const { startBase } = await import("./generate/base-thread.ts");
  return startBase(name, options);
}

export interface DownloadOptions extends SnapshotOptions {
  /** What the repository holds. Default "model". */
  readonly content?: HubContent;
  /** Endpoint, cache and token: `hubSettings(env)` of the environment. Default: the public hub without a token. */
  readonly hub?: HubSettings;
}

/**
 * A model, adapter or data set of the hub (`org/name[@revision]`) as a folder, for every function that takes one: from
 * Hugging Face's cache, else downloaded into it. Throws ModelError for names that the hub does not know.
 *
 * @example
 * import { env } from "node:process";
 * const base = await load(await download("HuggingFaceTB/SmolLM2-135M", { hub: hubSettings(env) }));
 */
export async function download(name: string, options: DownloadOptions = {}): Promise<string> {
  const [{ hubReference }, { hubSettings }, { snapshot }] = await Promise.all([
    import("./hub/reference.ts"),
    import("./hub/settings.ts"),
    import("./hub/snapshot.ts"),
  ]);
  const { content = "model", hub = hubSettings({}), ...more } = options;
  const reference = hubReference(name, content === "data" ? "datasets" : "models");
  if (reference === null) throw new UsageError(`${name}: a hub id is ORG/NAME or ORG/NAME@REVISION.`);
  return snapshot(hub, reference, content, more);
}
