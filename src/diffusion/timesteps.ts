/** Which steps of training a run of few steps takes: the three spacings of Lin et al. 2024, table 2. */

import { UsageError } from "../errors.ts";
import { type RawConfig, readChoice } from "../models/config.ts";

export type Spacing = "leading" | "trailing" | "linspace";

export interface StepsAsked {
  /** Steps to run. */
  readonly count: number;
  /** Steps of training. */
  readonly total: number;
  /** Added to the steps of leading spacing. */
  readonly offset: number;
}

export function readSpacing(raw: RawConfig, fallback: Spacing): Spacing {
  return readChoice(raw, "timestep_spacing", ["leading", "trailing", "linspace"] as const, fallback);
}

/** The steps, from the noisiest down; linspace ones may be fractions. Throws UsageError for more than there are. */
export function spacedSteps(spacing: Spacing, { count, total, offset }: StepsAsked): number[] {
  if (count > total) throw new UsageError(`steps ${count} is more than the model was trained with: ${total}.`);
  switch (spacing) {
    case "linspace":
      return linspace(0, total - 1, count).reverse();
    case "leading": {
      const ratio = Math.floor(total / count);
      return Array.from({ length: count }, (_, i) => (count - 1 - i) * ratio + offset);
    }
    case "trailing":
      return trailing(total, total / count);
  }
}

/** round(from, from − ratio, … above 0) − 1 */
export function trailing(from: number, ratio: number): number[] {
  const length = Math.ceil(from / ratio - 1e-9);
  return Array.from({ length }, (_, i) => roundHalfEven(from - i * ratio) - 1);
}

/** `count` numbers from a to b, both included. */
export function linspace(a: number, b: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (count === 1 ? a : a + ((b - a) * i) / (count - 1)));
}

/** As NumPy rounds. */
export function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}
