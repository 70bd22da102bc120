/**
 * Principal components of rows that come batch by batch (Ross et al. 2008), as scikit-learn's IncrementalPCA computes
 * them: what is kept of all earlier batches is their mean, their variance and their largest components.
 */

import { randomisedSvd } from "./linear-algebra.ts";
import type { Random } from "./random.ts";

export interface Components {
  /** Unit rows [k][width], the one of the largest variance first; the largest number of each is positive. */
  readonly vectors: readonly Float64Array[];
  /** Singular values of the centred rows [k]. */
  readonly values: Float64Array;
  /** Share of the whole variance that each explains [k]. */
  readonly ratios: Float64Array;
}

export interface PcaState extends Components {
  /** Rows seen. */
  readonly count: number;
  readonly mean: Float64Array;
  /** Sum of the squared distances to the mean over all rows and columns. */
  readonly scatter: number;
}

/** Rounds of subspace iteration; PEFT's EVA takes as many. */
const ITERATIONS = 4;

/** The `k` components of the rows that `before` has seen and of `rows` [n, width] besides, n ≥ 1. */
export function addRows(
  before: PcaState | null,
  rows: ArrayLike<number>,
  width: number,
  k: number,
  random: Random,
): PcaState {
  const n = rows.length / width;
  const mean = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]! / n;
  const kept = before?.vectors.length ?? 0;
  const height = kept + n + (before ? 1 : 0);
  const stacked = new Float64Array(height * width);
  let scatter = before?.scatter ?? 0;
  before?.vectors.forEach((vector, i) => {
    for (let j = 0; j < width; j++) stacked[i * width + j] = before.values[i]! * vector[j]!;
  });
  for (let i = 0; i < rows.length; i++) {
    const centred = rows[i]! - mean[i % width]!;
    stacked[kept * width + i] = centred;
    scatter += centred * centred;
  }
  const count = (before?.count ?? 0) + n;
  if (before) {
    // One row more stands for the distance between the means of the old rows and of the new ones.
    const factor = Math.sqrt((before.count / count) * n);
    for (let j = 0; j < width; j++) {
      const moved = factor * (before.mean[j]! - mean[j]!);
      stacked[(height - 1) * width + j] = moved;
      scatter += moved * moved;
      mean[j] = (before.mean[j]! * before.count + mean[j]! * n) / count;
    }
  }
  const { s, vt } = randomisedSvd(stacked, height, width, k, ITERATIONS, random, k);
  const vectors = Array.from(s, (_, i) => turnedUp(vt.slice(i * width, (i + 1) * width)));
  return {
    vectors,
    values: s,
    ratios: s.map((value) => (scatter > 0 ? (value * value) / scatter : 0)),
    count,
    mean,
    scatter,
  };
}

/** The vector or its opposite, whichever has its largest number above zero. */
function turnedUp(vector: Float64Array): Float64Array {
  const largest = vector.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  return largest < 0 ? vector.map((value) => -value) : vector;
}
