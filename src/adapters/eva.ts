/**
 * EVA (Paischer et al. 2024, arXiv:2410.07170): A starts from the directions in which a layer's inputs vary most, and
 * ranks go where a direction explains most. Rules of PEFT's `tuners/lora/eva.py`.
 */

import { z } from "zod";
import type { LoraConfig } from "./lora-config.ts";
import { patternValue } from "./targets.ts";

/** PEFT's `eva_config`. */
export interface EvaConfig {
  /** A layer's rank may grow to r·rho; 1 keeps all ranks. */
  readonly rho: number;
  /** Cosine of a direction with what it was one batch before, from which it counts as found. */
  readonly tau: number;
  /** Look at tokens that have a target alone. */
  readonly use_label_mask: boolean;
  readonly label_mask_value: -100;
  /** Divide each direction by the root of its singular value. */
  readonly whiten: boolean;
  /** Let alpha follow the rank, so that the scale of a branch stays. */
  readonly adjust_scaling_factors: boolean;
}

export const evaConfigSchema: z.ZodType<EvaConfig> = z.object({
  rho: z.number().min(1).default(2),
  tau: z.number().min(0).max(1).default(0.99),
  use_label_mask: z.boolean().default(true),
  label_mask_value: z.literal(-100).default(-100),
  whiten: z.boolean().default(false),
  adjust_scaling_factors: z.boolean().default(true),
});

/** A target layer, and the first layer that reads the same input: itself, or one whose directions it shares. */
export interface EvaLayer {
  readonly module: string;
  readonly input: string;
}

/** What EVA found: fields that the configuration takes, and A [r, in] of each module that it reached. */
export interface EvaStart {
  readonly fields: Pick<LoraConfig, "target_modules" | "rank_pattern" | "alpha_pattern" | "eva_config">;
  readonly directions: ReadonlyMap<string, Float32Array>;
}

/** Ranks by module: the `budget` directions that explain the largest shares of their inputs' variance. */
export function shareRanks(
  layers: readonly EvaLayer[],
  ratios: (input: string) => ArrayLike<number>,
  budget: number,
): Map<string, number> {
  const sharing = layers.filter(({ module, input }) => module !== input);
  const ordered = [...layers.filter(({ module, input }) => module === input), ...sharing];
  const all = ordered.flatMap(({ module, input }) => Array.from(ratios(input), (ratio) => ({ module, ratio })));
  const ranks = new Map(ordered.map(({ module }) => [module, 0]));
  for (const { module } of all.toSorted((a, b) => b.ratio - a.ratio).slice(0, budget)) {
    ranks.set(module, ranks.get(module)! + 1);
  }
  // Where equal shares meet the end of the budget, the layer that directions are computed for has the most.
  for (const { module, input } of sharing) {
    const [own, first] = [ranks.get(module)!, ranks.get(input)!];
    if (first >= own) continue;
    ranks.set(input, own);
    ranks.set(module, first);
  }
  return ranks;
}

/** The configuration's fields with these ranks; targets of rank 0 are left out. `nameOf` spells modules as files do. */
export function fieldsOfRanks(
  config: LoraConfig,
  targets: readonly string[],
  ranks: ReadonlyMap<string, number>,
  nameOf: (module: string) => string,
): Pick<LoraConfig, "target_modules" | "rank_pattern" | "alpha_pattern"> {
  const kept = targets.filter((module) => ranks.get(module) !== 0);
  const rankPattern: Record<string, number> = {};
  const alphaPattern: Record<string, number> = {};
  for (const module of kept) {
    const before = patternValue(module, config.rank_pattern, config.r);
    const rank = ranks.get(module) ?? before;
    const factor = config.eva_config?.adjust_scaling_factors ? rank / before : 1;
    const alpha = factor * patternValue(module, config.alpha_pattern, config.lora_alpha);
    if (rank !== config.r) rankPattern[nameOf(module)] = rank;
    if (alpha !== config.lora_alpha) alphaPattern[nameOf(module)] = alpha;
  }
  return {
    target_modules: kept.length === targets.length ? config.target_modules : kept.map(nameOf),
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
  };
}
