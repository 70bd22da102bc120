/** PEFT's LoraConfig: the fields that are read and written, with PEFT's defaults in this one place. */

import { z } from "zod";

/** Fields of `adapter_config.json` (PEFT `tuners/lora/config.py`), spelled as there. */
export interface LoraConfig {
  readonly peft_type: "LORA";
  readonly task_type: string | null;
  readonly base_model_name_or_path: string | null;
  readonly revision: string | null;
  /** Rank: rows of A, columns of B. */
  readonly r: number;
  /** α: the update is scaled by α / r, or α / √r with use_rslora. */
  readonly lora_alpha: number;
  /** Share of a branch's inputs that training sets to 0. */
  readonly lora_dropout: number;
  /** Names or ends of names, a regular expression, or "all-linear"; null takes the architecture's own. */
  readonly target_modules: string | readonly string[] | null;
  readonly exclude_modules: string | readonly string[] | null;
  readonly layers_to_transform: number | readonly number[] | null;
  readonly layers_pattern: string | readonly string[] | null;
  /** Rank by module-name pattern. */
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  readonly use_rslora: boolean;
  readonly use_dora: boolean;
  /** True where the base stores its matrices [in, out] (GPT-2); for PEFT's eyes only, the model knows. */
  readonly fan_in_fan_out: boolean;
  readonly bias: "none" | "all" | "lora_only";
  /** Modules trained and saved whole. */
  readonly modules_to_save: readonly string[] | null;
  readonly init_lora_weights: boolean | string;
  readonly trainable_token_indices: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
}

const names = z.union([z.string(), z.array(z.string())]);

const schema = z.object({
  peft_type: z.literal("LORA").default("LORA"),
  task_type: z.string().nullable().default(null),
  base_model_name_or_path: z.string().nullable().default(null),
  revision: z.string().nullable().default(null),
  r: z.number().int().min(1).default(8),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: names.nullable().default(null),
  exclude_modules: names.nullable().default(null),
  layers_to_transform: z
    .union([z.number().int(), z.array(z.number().int())])
    .nullable()
    .default(null),
  layers_pattern: names.nullable().default(null),
  rank_pattern: z.record(z.string(), z.number().int().min(1)).default({}),
  alpha_pattern: z.record(z.string(), z.number()).default({}),
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().default(false),
  fan_in_fan_out: z.boolean().default(false),
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  modules_to_save: z.array(z.string()).nullable().default(null),
  init_lora_weights: z.union([z.boolean(), z.string()]).default(true),
  trainable_token_indices: z
    .union([z.array(z.number().int()), z.record(z.string(), z.array(z.number().int()))])
    .nullable()
    .default(null),
}) satisfies z.ZodType<LoraConfig>;

/** A complete configuration from the fields that are given; throws zod's error for values of a wrong type. */
export function loraConfig(fields: Readonly<Record<string, unknown>> = {}): LoraConfig {
  return schema.parse(fields);
}

/** The configuration with the architecture's targets and the task's head written out, as PEFT does. */
export function completeLora(
  config: LoraConfig,
  { defaultTargets }: { readonly defaultTargets: readonly string[] },
): LoraConfig {
  return {
    ...config,
    target_modules: config.target_modules ?? defaultTargets,
    modules_to_save: withTaskHead(config.modules_to_save, config.task_type),
  };
}

/** Names of heads that PEFT trains whole for a task, whether the model has them or not. */
export const TASK_HEADS: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
};

/** modules_to_save with the heads of the task. */
export function withTaskHead(modules: readonly string[] | null, task: string | null): readonly string[] | null {
  const heads = TASK_HEADS[task ?? ""];
  return heads ? [...new Set([...(modules ?? []), ...heads])] : modules;
}

/** Factor on the low-rank branch: α / r, or α / √r (rsLoRA, Kalajdzievski 2023). */
export function loraScaling(config: LoraConfig, rank: number, alpha: number): number {
  return alpha / (config.use_rslora ? Math.sqrt(rank) : rank);
}
