/** Learning rates by step, with the formulas of transformers' `get_scheduler` (`optimization.py`). */

export const SCHEDULERS = ["constant", "linear", "cosine"] as const;

export type Scheduler = (typeof SCHEDULERS)[number];

/** Factor on the learning rate at update `step`, counted from 1, of `total`; the first `warmup` rise linearly. */
export function scheduleFactor(scheduler: Scheduler, step: number, warmup: number, total: number): number {
  const done = step - 1;
  if (done < warmup) return done / Math.max(1, warmup);
  const progress = (done - warmup) / Math.max(1, total - warmup);
  switch (scheduler) {
    case "constant":
      return 1;
    case "linear":
      return Math.max(0, 1 - progress);
    case "cosine":
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  }
}
