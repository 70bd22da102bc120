/** What training on images is told: one typed record, defaults in one place. The command line's flags are these names. */

import { z } from "zod";
import { PREDICTIONS, type Prediction } from "../diffusion/ldm-config.ts";
import { IMAGE_PRECISIONS, type ImagePrecision } from "../diffusion/precision.ts";
import { UsageError } from "../errors.ts";
import { SCHEDULERS, type Scheduler } from "../train/schedule.ts";
import { TARGET_SETS, type TargetSet } from "./targets.ts";

export const IMAGE_METHODS = ["lora", "full", "autoencoder"] as const;
/** "full" trains every tensor of the UNet; "autoencoder" every one of the autoencoder, on the images alone. */
export type ImageMethod = (typeof IMAGE_METHODS)[number];

export interface ImageTrainOptions {
  /** Diffusers folder of the base, or a single-file checkpoint. */
  readonly model: string;
  /** Tokenizer files in place of the base's own, which single files lack. */
  readonly tokenizer: string | null;
  /** For single files of unusual sizes: a diffusers folder whose configurations they go with. */
  readonly modelConfig: string | null;
  /** What a single file's model predicts, where the file does not say. */
  readonly prediction: Prediction | null;
  /** Folder of images with captions. */
  readonly data: string;
  readonly out: string;
  /** Arithmetic of the frozen UNet and text encoders; int8 goes with LoRA. */
  readonly precision: ImagePrecision;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir: string | null;
  readonly method: ImageMethod;
  /** Folder of images that training never sees; their loss is measured at fixed noise. */
  readonly evalData: string | null;
  /** Folder of images of the class, which keep the base as it was where the subject is not named. */
  readonly classData: string | null;
  /** What the base draws where that folder holds fewer than `numClassImages`; null: nothing is drawn. */
  readonly classPrompt: string | null;
  readonly numClassImages: number;
  /** Weight of their loss. */
  readonly priorWeight: number;
  /** A LoRA file to go on training. */
  readonly initAdapter: string | null;
  readonly r: number;
  /** Null: as large as r. */
  readonly alpha: number | null;
  /** Rank of the 3 × 3 convolutions' branches; 0 leaves them alone. */
  readonly convR: number;
  /** Null: as large as convR. */
  readonly convAlpha: number | null;
  readonly targets: TargetSet;
  /** Names or ends of names in place of the set's. */
  readonly targetModules: readonly string[] | null;
  readonly init: "kaiming" | "gaussian";
  readonly trainTextEncoder: boolean;
  /** Learning rate of the text encoder; null: `lr`. */
  readonly textLr: number | null;
  /** Put before each caption; stands alone where an image has none. */
  readonly trigger: string | null;
  readonly captionDropout: number;
  readonly shuffleTags: boolean;
  /** First tags that stay in their place. */
  readonly keepTokens: number;
  /** Side of a square, in pixels; null: what the model was trained at. */
  readonly resolution: number | null;
  /** Whether images keep their shape, in buckets of about the same area. */
  readonly buckets: boolean;
  readonly bucketStep: number;
  readonly crop: "center" | "random";
  readonly flip: boolean;
  readonly batchSize: number;
  readonly gradAccum: number;
  readonly epochs: number;
  readonly maxSteps: number | null;
  /** Null: 1e-4; for the two whole methods 1e-5. */
  readonly lr: number | null;
  readonly scheduler: Scheduler;
  readonly warmupSteps: number;
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly maxGradNorm: number;
  /** Decay of a running average of what is trained, which is then measured and saved in its place; null keeps none. */
  readonly ema: number | null;
  /** γ of min-SNR weighting (Hang et al. 2023); null: every step of noise counts alike. */
  readonly minSnrGamma: number | null;
  readonly noiseOffset: number;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly evalSteps: number | null;
  readonly samplePrompts: readonly string[];
  readonly sampleSteps: number | null;
  readonly saveSteps: number | null;
  readonly saveLimit: number;
  readonly resume: boolean | string;
  readonly threads: number;
}

const count = z.number().int().min(1);

const schema = z.strictObject({
  model: z.string(),
  tokenizer: z.string().nullable().default(null),
  modelConfig: z.string().nullable().default(null),
  prediction: z.enum(PREDICTIONS).nullable().default(null),
  data: z.string(),
  out: z.string(),
  precision: z.enum(IMAGE_PRECISIONS).default("fp32"),
  cacheDir: z.string().nullable().default(null),
  method: z.enum(IMAGE_METHODS).default("lora"),
  evalData: z.string().nullable().default(null),
  classData: z.string().nullable().default(null),
  classPrompt: z.string().min(1).nullable().default(null),
  numClassImages: count.default(100),
  priorWeight: z.number().min(0).default(1),
  initAdapter: z.string().nullable().default(null),
  r: count.default(4),
  alpha: z.number().positive().nullable().default(null),
  convR: z.number().int().min(0).default(0),
  convAlpha: z.number().positive().nullable().default(null),
  targets: z.enum(TARGET_SETS).default("attention"),
  targetModules: z.array(z.string()).min(1).nullable().default(null),
  init: z.enum(["kaiming", "gaussian"]).default("gaussian"),
  trainTextEncoder: z.boolean().default(false),
  textLr: z.number().min(0).nullable().default(null),
  trigger: z.string().min(1).nullable().default(null),
  captionDropout: z.number().min(0).max(1).default(0),
  shuffleTags: z.boolean().default(false),
  keepTokens: z.number().int().min(0).default(0),
  resolution: count.nullable().default(null),
  buckets: z.boolean().default(false),
  bucketStep: count.default(64),
  crop: z.enum(["center", "random"]).default("center"),
  flip: z.boolean().default(false),
  batchSize: count.default(1),
  gradAccum: count.default(1),
  epochs: z.number().positive().default(10),
  maxSteps: count.nullable().default(null),
  lr: z.number().min(0).nullable().default(null),
  scheduler: z.enum(SCHEDULERS).default("constant"),
  warmupSteps: z.number().int().min(0).default(0),
  weightDecay: z.number().min(0).default(0.01),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([0.9, 0.999]),
  eps: z.number().positive().default(1e-8),
  maxGradNorm: z.number().min(0).default(1),
  ema: z.number().min(0).lt(1).nullable().default(null),
  minSnrGamma: z.number().positive().nullable().default(null),
  noiseOffset: z.number().min(0).default(0),
  seed: z.number().int().min(0).default(0),
  shuffle: z.boolean().default(true),
  evalSteps: count.nullable().default(null),
  samplePrompts: z.array(z.string()).default([]),
  sampleSteps: count.nullable().default(null),
  saveSteps: count.nullable().default(null),
  saveLimit: count.default(3),
  resume: z.union([z.boolean(), z.string()]).default(false),
  threads: count.default(2),
}) satisfies z.ZodType<ImageTrainOptions>;

export type ImageTrainInput = Partial<ImageTrainOptions> & Pick<ImageTrainOptions, "model" | "data" | "out">;

/** Complete options; throws UsageError naming every option that is unknown or has an impossible value. */
export function imageTrainOptions(given: ImageTrainInput): ImageTrainOptions {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw new UsageError(
    result.error.issues.map(({ path, message }) => `${path.join(".") || "options"}: ${message}`).join("\n"),
  );
}
