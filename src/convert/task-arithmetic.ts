/**
 * Ways to merge updates of one base into one: task arithmetic (Ilharco et al. 2022), TIES (Yadav et al. 2023,
 * arXiv:2306.01708), DARE (Yu et al. 2023, arXiv:2311.03099) and pruning by magnitude, as PEFT's `add_weighted_adapter`
 * documents them. In float64; ties between equal magnitudes go to the element that comes first.
 */

import type { Random } from "../tensor/random.ts";

export const RULES = ["linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"] as const;
export type Rule = (typeof RULES)[number];

export interface RuleOptions {
  /** Share of each update's elements that is kept. */
  readonly density: number;
  /** Which sign an element gets (TIES): that of the sum, or of most updates. */
  readonly majoritySign: "total" | "frequency";
  /** Draws which elements DARE keeps. */
  readonly random: Random;
}

/** The merged update of `updates`, all of one length, each with its weight. */
export function mergeUpdates(
  rule: Rule,
  updates: readonly ArrayLike<number>[],
  weights: readonly number[],
  options: RuleOptions,
): Float64Array {
  const kept = rule === "linear" ? updates : updates.map((update) => pruned(update, rule.startsWith("dare"), options));
  return rule.endsWith("ties") ? disjointMean(kept, weights, options.majoritySign) : weightedSum(kept, weights);
}

function weightedSum(updates: readonly ArrayLike<number>[], weights: readonly number[]): Float64Array {
  const sum = new Float64Array(updates[0]!.length);
  updates.forEach((update, t) => {
    for (let i = 0; i < sum.length; i++) sum[i]! += weights[t]! * update[i]!;
  });
  return sum;
}

/** DARE drops elements at random and scales up the rest; the others keep the largest ones. */
function pruned(update: ArrayLike<number>, dare: boolean, { density, random }: RuleOptions): ArrayLike<number> {
  if (density >= 1) return update;
  if (dare) return Float64Array.from(update, (value) => (random.uniform() < density ? value / density : 0));
  const order = Uint32Array.from({ length: update.length }, (_, i) => i);
  order.sort((a, b) => Math.abs(update[b]!) - Math.abs(update[a]!) || a - b);
  const out = new Float64Array(update.length);
  for (const i of order.subarray(0, Math.trunc(density * update.length))) out[i] = update[i]!;
  return out;
}

/** The mean over those updates whose sign is the elected one. */
function disjointMean(
  updates: readonly ArrayLike<number>[],
  weights: readonly number[],
  majority: "total" | "frequency",
): Float64Array {
  const out = new Float64Array(updates[0]!.length);
  for (let i = 0; i < out.length; i++) {
    let votes = 0;
    for (const update of updates) votes += majority === "total" ? update[i]! : Math.sign(update[i]!);
    const sign = votes >= 0 ? 1 : -1;
    let [sum, count] = [0, 0];
    updates.forEach((update, t) => {
      if (Math.sign(update[i]!) !== sign) return;
      sum += weights[t]! * update[i]!;
      count++;
    });
    out[i] = sum / Math.max(1, count);
  }
  return out;
}
