/** PEFT's LoraConfig: the fields that are read and written, with PEFT's defaults in this one place. */

import { z } from "zod";
import type { ModelTrace } from "../models/trace.ts";
import { type CommonConfig, commonFields, names, refuseFields, withTaskHead } from "./config-fields.ts";
import { type EvaConfig, evaConfigSchema } from "./eva.ts";

/** Fields of `adapter_config.json` (PEFT `tuners/lora/config.py`), spelled as there. */
export interface LoraConfig extends CommonConfig {
  readonly peft_type: "LORA";
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
  readonly init_lora_weights: boolean | string;
  /** How init_lora_weights "eva" looks at the data; null for its defaults. */
  readonly eva_config: EvaConfig | null;
  /**
   * loralib's MergedLinear: which of the equal slices of a fused layer's outputs get a branch of rank r each, as
   * [true, false, true] for q and v of a fused qkv. No field of PEFT: files hold the plain LoRA that does the same.
   */
  readonly enable_lora: readonly boolean[] | null;
  readonly trainable_token_indices: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
}

const schema = z.object({
  ...commonFields,
  peft_type: z.literal("LORA").default("LORA"),
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
  init_lora_weights: z.union([z.boolean(), z.string()]).default(true),
  eva_config: evaConfigSchema.nullable().default(null),
  enable_lora: z
    .array(z.boolean())
    .refine((slices) => slices.includes(true), "needs a true")
    .nullable()
    .default(null),
  trainable_token_indices: z
    .union([z.array(z.number().int()), z.record(z.string(), z.array(z.number().int()))])
    .nullable()
    .default(null),
}) satisfies z.ZodType<LoraConfig>;

/** Options of PEFT that change what an adapter computes and that are not supported, with the one value they may have. */
const REFUSED: Readonly<Record<string, unknown>> = {
  alora_invocation_tokens: null,
  arrow_config: null,
  ensure_weight_tying: false,
  kasa_config: null,
  layer_replication: null,
  lora_bias: false,
  monteclora_config: null,
  target_parameters: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
};

/** The fields beside LoraConfig's that PEFT writes, with the values they have here. */
export const LORA_FIXED: Readonly<Record<string, unknown>> = {
  ...REFUSED,
  auto_mapping: null,
  corda_config: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  qalora_group_size: 16,
};

/** A complete configuration from the fields that are given; throws zod's error for values of a wrong type. */
export function loraConfig(fields: Readonly<Record<string, unknown>> = {}): LoraConfig {
  refuseFields(fields, REFUSED);
  return schema.parse(fields);
}

/** The configuration with the architecture's targets and the task's head written out, as PEFT does. */
export function completeLora(
  config: LoraConfig,
  { defaultTargets, trace }: { readonly defaultTargets: readonly string[]; readonly trace: ModelTrace },
): LoraConfig {
  const layouts = [...trace.modules.values()].map((module) => module.kind === "linear" && module.spec.layout);
  return {
    ...config,
    target_modules: config.target_modules ?? defaultTargets,
    modules_to_save: withTaskHead(config),
    fan_in_fan_out: config.fan_in_fan_out || layouts.includes("in,out"),
  };
}

/** Whether an `init_lora_weights` takes the initial branch off the base, as PEFT does for these. */
export function changesBase(kind: boolean | string): boolean {
  return kind === "olora" || (typeof kind === "string" && /^pissa(_niter_\d+)?$/.test(kind));
}

/**
 * The configuration of the plain LoRA that a trained adapter is written as. One that starts from a part of the base has
 * twice the rank, as PEFT converts it; one of k slices has k times. Alpha grows with it, so that the scale stays.
 */
export function storedConfig(config: LoraConfig): LoraConfig {
  const slices = config.enable_lora;
  const factor = (changesBase(config.init_lora_weights) ? 2 : 1) * (slices?.filter(Boolean).length ?? 1);
  if (factor === 1 && !slices && !changesBase(config.init_lora_weights)) return config;
  const grown = config.use_rslora ? Math.sqrt(factor) : factor;
  const times = (patterns: Readonly<Record<string, number>>, by: number): Record<string, number> =>
    Object.fromEntries(Object.entries(patterns).map(([pattern, value]) => [pattern, by * value]));
  return {
    ...config,
    r: factor * config.r,
    lora_alpha: grown * config.lora_alpha,
    rank_pattern: times(config.rank_pattern, factor),
    alpha_pattern: times(config.alpha_pattern, grown),
    init_lora_weights: true,
    enable_lora: null,
  };
}

/** Factor on the low-rank branch: α / r, or α / √r (rsLoRA, Kalajdzievski 2023). */
export function loraScaling(config: LoraConfig, rank: number, alpha: number): number {
  return alpha / (config.use_rslora ? Math.sqrt(rank) : rank);
}
