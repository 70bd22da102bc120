/** What a training run is told: one typed record, defaults in one place. The command line's flags are these names. */

import { z } from "zod";
import { MLM_PROBABILITY } from "../data/masking.ts";
import { UsageError } from "../errors.ts";
import { QUANT_TYPES, type QuantType } from "../precision/blocks.ts";
import { PRECISIONS, type Precision, QUANT_TYPE } from "../precision/precision.ts";
import { PACKINGS, type Packing } from "../program/layout.ts";
import { DEVICES, type Device } from "../runtime/session.ts";
import { TASKS, type Task } from "../task.ts";
import { PREPACKS, type Prepack, RECOMPUTES, type Recompute } from "./memory-options.ts";
import { PREFERENCE_LOSSES, type PreferenceLoss } from "./preference.ts";
import { SCHEDULERS, type Scheduler } from "./schedule.ts";

export interface TrainOptions {
  /** Hugging Face folder of the base. */
  readonly model: string;
  /** Training rows. */
  readonly data: string;
  /** Held-out rows; evaluated before the first step, every `evalSteps`, and at the end. */
  readonly evalData: string | null;
  /** Share of the rows that is held out when there is no `evalData`; 0 holds none out. */
  readonly evalSplit: number;
  /** Folder that the adapter, its checkpoints and its reports are written to. */
  readonly out: string;
  /** Null: the adapter's, the checkpoint's, or what the rows suggest. */
  readonly task: Task | null;
  /** "lora", "full", or another method; null: the adapter configuration's. */
  readonly method: string | null;
  /** How judged answers are learnt from; null: DPO for pairs, KTO for single answers, and no such loss for other rows. */
  readonly loss: PreferenceLoss | null;
  /** How strongly preferences hold the model to its reference. */
  readonly beta: number;
  /** KTO: what good and bad answers weigh. */
  readonly desirableWeight: number;
  readonly undesirableWeight: number;
  /** An adapter_config.json (or its folder) to take the method's settings from. */
  readonly adapterConfig: string | null;
  /** A PEFT folder whose adapter is trained on. */
  readonly initAdapter: string | null;
  /** Fields of the adapter configuration that flags set, by PEFT's names. */
  readonly adapterFields: Readonly<Record<string, unknown>>;
  /** Rows of one pass through the model. */
  readonly batchSize: number;
  /** Passes that one update adds up. */
  readonly gradAccum: number;
  /** Places, padding counted, that a pass has at most: its rows are then cut by tokens; null: `batchSize` rows. */
  readonly tokensPerBatch: number | null;
  /** Whether rows may lie end to end in one stream, which changes the speed alone. */
  readonly packing: Packing;
  readonly epochs: number;
  /** Updates in all; null: as many as `epochs` take. */
  readonly maxSteps: number | null;
  /** Learning rate; null: 2e-4, for full fine-tuning 5e-5, for preferences 1e-5. */
  readonly lr: number | null;
  /** LoRA+: how many times faster B learns than A; null: as fast. */
  readonly loraplusRatio: number | null;
  /** Share of each target that is spread over all classes: cross-entropies in training alone. */
  readonly labelSmoothing: number;
  /** Whether training draws the dropout that the checkpoint's config.json has rates for. */
  readonly modelDropout: boolean;
  /** Masked models on plain text: the share of tokens that each step hides. */
  readonly mlmProbability: number;
  /** Full training with new weights, whatever weights lie beside config.json. */
  readonly fromScratch: boolean;
  readonly scheduler: Scheduler;
  readonly warmupSteps: number;
  /** Share of all steps; used when warmupSteps is 0. */
  readonly warmupRatio: number;
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Gradients are scaled down to this norm; 0 never clips. */
  readonly maxGradNorm: number;
  /** Tokens a row; longer ones are cut on the right. */
  readonly maxLength: number;
  /** Whether the prompt of prompt/completion rows is no target. */
  readonly maskPrompt: boolean;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Updates between evaluations; null: once an epoch. */
  readonly evalSteps: number | null;
  /** Evaluations in a row without a gain after which training ends; null: never. */
  readonly earlyStoppingPatience: number | null;
  /** How much less the held-out loss must be to count as a gain. */
  readonly earlyStoppingThreshold: number;
  /** Training ends with an error when losses stay above so many times those of its first steps; 0: never. */
  readonly divergenceRatio: number;
  /** Steps in a row that say so. */
  readonly divergencePatience: number;
  /** Prompts to answer on the way: a file with one a line (text, or JSON with "prompt" or "messages"), or a text. */
  readonly samplePrompts: string | null;
  /** Updates between those answers; null: as often as evaluations. */
  readonly sampleSteps: number | null;
  /** Tokens of an answer, at most. */
  readonly sampleTokens: number;
  /** Updates between checkpoints; null: only when interrupted. */
  readonly saveSteps: number | null;
  /** Checkpoints kept; older ones are removed. */
  readonly saveLimit: number;
  /** True: from the newest checkpoint of `out`; a path: from that one. */
  readonly resume: boolean | string;
  readonly threads: number;
  /** What computes: the CPU, or a GPU by WebGPU. */
  readonly device: Device;
  /** Arithmetic of the frozen base: float32, eight bits forward and backward, or weights held in four bits. */
  readonly precision: Precision;
  /** What four bits stand for: even steps (int4) or quantiles of a normal distribution (nf4). */
  readonly quantType: QuantType;
  /** Whether blocks are computed again in the backward pass instead of being kept; auto: when memory is short. */
  readonly recompute: Recompute;
  /**
   * Whether float32 and byte matrices of the base are rearranged once, into copies that products are faster with; auto: bytes,
   * where nothing is recomputed.
   */
  readonly prepack: Prepack;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir: string | null;
}

const count = z.number().int().min(1);

const schema = z.strictObject({
  model: z.string(),
  data: z.string(),
  evalData: z.string().nullable().default(null),
  evalSplit: z.number().min(0).lt(1).default(0),
  out: z.string(),
  task: z.enum(TASKS).nullable().default(null),
  method: z.string().nullable().default(null),
  loss: z.enum(PREFERENCE_LOSSES).nullable().default(null),
  beta: z.number().positive().default(0.1),
  desirableWeight: z.number().min(0).default(1),
  undesirableWeight: z.number().min(0).default(1),
  adapterConfig: z.string().nullable().default(null),
  initAdapter: z.string().nullable().default(null),
  adapterFields: z.record(z.string(), z.unknown()).default({}),
  batchSize: count.default(8),
  gradAccum: count.default(1),
  tokensPerBatch: count.nullable().default(null),
  packing: z.enum(PACKINGS).default("auto"),
  epochs: z.number().positive().default(3),
  maxSteps: count.nullable().default(null),
  lr: z.number().min(0).nullable().default(null),
  loraplusRatio: z.number().positive().nullable().default(null),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  modelDropout: z.boolean().default(false),
  mlmProbability: z.number().gt(0).lte(1).default(MLM_PROBABILITY),
  fromScratch: z.boolean().default(false),
  scheduler: z.enum(SCHEDULERS).default("linear"),
  warmupSteps: z.number().int().min(0).default(0),
  warmupRatio: z.number().min(0).max(1).default(0),
  weightDecay: z.number().min(0).default(0),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]),
  eps: z.number().positive().default(1e-8),
  maxGradNorm: z.number().min(0).default(1),
  maxLength: count.default(1024),
  maskPrompt: z.boolean().default(true),
  seed: z.number().int().min(0).default(0),
  shuffle: z.boolean().default(true),
  evalSteps: count.nullable().default(null),
  earlyStoppingPatience: count.nullable().default(null),
  earlyStoppingThreshold: z.number().min(0).default(0),
  divergenceRatio: z.number().min(0).default(2),
  divergencePatience: count.default(20),
  samplePrompts: z.string().min(1).nullable().default(null),
  sampleSteps: count.nullable().default(null),
  sampleTokens: count.default(64),
  saveSteps: count.nullable().default(null),
  saveLimit: count.default(3),
  resume: z.union([z.boolean(), z.string()]).default(false),
  threads: count.default(2),
  device: z.enum(DEVICES).default("cpu"),
  precision: z.enum(PRECISIONS).default("fp32"),
  quantType: z.enum(QUANT_TYPES).default(QUANT_TYPE),
  recompute: z.enum(RECOMPUTES).default("auto"),
  prepack: z.enum(PREPACKS).default("auto"),
  cacheDir: z.string().nullable().default(null),
}) satisfies z.ZodType<TrainOptions>;

/** What a caller gives: everything with a default may be left out. */
export type TrainInput = Partial<TrainOptions> & Pick<TrainOptions, "model" | "data" | "out">;

/** Complete options; throws UsageError naming every option that is unknown or has an impossible value. */
export function trainOptions(given: TrainInput): TrainOptions {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw new UsageError(
    result.error.issues
      .map(({ path, message }) => `${path.join(".") || "options"}: ${message}${foundText(given, path)}`)
      .join("\n"),
  );
}

function foundText(given: object, [name, ...inner]: readonly PropertyKey[]): string {
  const value = inner.length === 0 && name !== undefined ? (given as Record<PropertyKey, unknown>)[name] : undefined;
  return value === undefined ? "" : `, found ${JSON.stringify(value)}`;
}
