/** Configurations of LoHa and LoKr: PEFT's `LoHaConfig` and `LoKrConfig`, spelled as there. */

import { z } from "zod";
import { UsageError } from "../errors.ts";
import { type CommonConfig, commonFields, names, refuseFields, withTaskHead } from "./config-fields.ts";

interface LycorisConfig extends CommonConfig {
  readonly r: number;
  /** The update is scaled by alpha / r. */
  readonly alpha: number;
  readonly target_modules: string | readonly string[] | null;
  readonly exclude_modules: string | readonly string[] | null;
  readonly layers_to_transform: number | readonly number[] | null;
  readonly layers_pattern: string | readonly string[] | null;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
}

export interface LoHaConfig extends LycorisConfig {
  readonly peft_type: "LOHA";
  /** Whether a new adapter changes nothing. */
  readonly init_weights: boolean;
}

export interface LoKrConfig extends LycorisConfig {
  readonly peft_type: "LOKR";
  /** Whether a new adapter changes nothing; "lycoris" has the zeros in the second factor. */
  readonly init_weights: boolean | "lycoris";
  /** Whether the first factor may be low-rank, too. */
  readonly decompose_both: boolean;
  /** How the sizes are split in two: one part as near to this as goes; -1 near the root. */
  readonly decompose_factor: number;
}

const fields = {
  ...commonFields,
  r: z.number().int().min(1).default(8),
  alpha: z.number().default(8),
  target_modules: names.nullable().default(null),
  exclude_modules: names.nullable().default(null),
  layers_to_transform: z
    .union([z.number().int(), z.array(z.number().int())])
    .nullable()
    .default(null),
  layers_pattern: names.nullable().default(null),
  rank_pattern: z.record(z.string(), z.number().int().min(1)).default({}),
  alpha_pattern: z.record(z.string(), z.number()).default({}),
};

const loha = z.object({
  ...fields,
  peft_type: z.literal("LOHA").default("LOHA"),
  init_weights: z.boolean().default(true),
}) satisfies z.ZodType<LoHaConfig>;

const lokr = z.object({
  ...fields,
  peft_type: z.literal("LOKR").default("LOKR"),
  init_weights: z.union([z.boolean(), z.literal("lycoris")]).default(true),
  decompose_both: z.boolean().default(false),
  decompose_factor: z.number().int().default(-1),
}) satisfies z.ZodType<LoKrConfig>;

/** What PEFT writes beside: dropouts of training that are not supported, and convolutions' ways. */
export const LOHA_FIXED: Readonly<Record<string, unknown>> = {
  auto_mapping: null,
  module_dropout: 0,
  rank_dropout: 0,
  use_effective_conv2d: false,
};

export const LOKR_FIXED: Readonly<Record<string, unknown>> = { ...LOHA_FIXED, rank_dropout_scale: false };

const REFUSED = { module_dropout: 0, rank_dropout: 0 };

export function lohaConfig(given: Readonly<Record<string, unknown>> = {}): LoHaConfig {
  refuseFields(given, REFUSED);
  return loha.parse(given);
}

export function lokrConfig(given: Readonly<Record<string, unknown>> = {}): LoKrConfig {
  refuseFields(given, REFUSED);
  return lokr.parse(given);
}

/** The configuration with the architecture's targets, LoRA's own, and the task's head written out. */
export function completeLycoris<C extends LoHaConfig | LoKrConfig>(
  config: C,
  { defaultTargets }: { readonly defaultTargets: readonly string[] },
): C {
  const target_modules = config.target_modules ?? defaultTargets;
  return { ...config, target_modules, modules_to_save: withTaskHead(config) };
}

/**
 * A size as a product of two, the smaller first: `factor` and the rest where it divides, else as near to the root as
 * the divisors up to `factor` come (PEFT `tuners/lokr/layer.py`, factorization).
 */
export function factorization(size: number, factor: number): readonly [number, number] {
  if (factor > 0 && size % factor === 0) return [factor, size / factor];
  if (factor === 0 || factor < -1) throw new UsageError(`decompose_factor ${factor}: give -1, or a number above 0.`);
  const limit = factor === -1 ? size : factor;
  let [m, n] = [1, size];
  while (m < n) {
    let next = m + 1;
    while (size % next !== 0) next++;
    if (next + size / next > 1 + size || next > limit) break;
    [m, n] = [next, size / next];
  }
  return m > n ? [n, m] : [m, n];
}
