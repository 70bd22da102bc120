/** What a run's course says: whether it has diverged, and whether it still gets better. */

import type { EvalEvent } from "./events.ts";
import type { TrainOptions } from "./options.ts";

/** Steps whose losses say where a run began. */
const BEGINNING = 3;

/**
 * Whether each of the last `divergencePatience` losses is more than `divergenceRatio` times the median of the first
 * ones: a run that has left where it began, and does not come back. Returns that median; null for a run that has not.
 */
export function divergedFrom(
  losses: readonly number[],
  { divergenceRatio, divergencePatience }: Pick<TrainOptions, "divergenceRatio" | "divergencePatience">,
): number | null {
  if (divergenceRatio === 0 || losses.length < BEGINNING + divergencePatience) return null;
  const median = losses.slice(0, BEGINNING).toSorted((a, b) => a - b)[1]!;
  return losses.slice(-divergencePatience).every((loss) => loss > divergenceRatio * median) ? median : null;
}

/**
 * Evaluations in a row that were not better than the best before them by more than `threshold`: transformers'
 * EarlyStoppingCallback counts so.
 */
export function evaluationsWithoutGain(evals: readonly Pick<EvalEvent, "loss">[], threshold: number): number {
  let best = Number.POSITIVE_INFINITY;
  let without = 0;
  for (const { loss } of evals) {
    without = best - loss > threshold ? 0 : without + 1;
    best = Math.min(best, loss);
  }
  return without;
}
