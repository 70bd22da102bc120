/** Repeated measurements as their median and range. */

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Throws RangeError without any. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [least, most] = [sorted[0], sorted.at(-1)];
  if (least === undefined || most === undefined) throw new RangeError("a spread of no measurements");
  return { median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2, least, most };
}

/** A ratio of paired measurements with its 95 % interval. */
export interface RatioInterval {
  readonly ratio: number;
  readonly from: number;
  readonly to: number;
}

/**
 * a over b, pair by pair: the median of the ratios, and the interval that holds the true median in 95 of 100 such series,
 * from order statistics (the sign test's interval), which a few disturbed pairs cannot move. Throws RangeError without pairs.
 */
export function ratioInterval(a: readonly number[], b: readonly number[]): RatioInterval {
  const count = Math.min(a.length, b.length);
  const ratios = Array.from({ length: count }, (_, i) => a[i]! / b[i]!).toSorted((x, y) => x - y);
  const { median } = spreadOf(ratios);
  const below = signTestRank(count);
  return { ratio: median, from: ratios[below]!, to: ratios[count - 1 - below]! };
}

/** Values below the interval, and as many above it: the most for which P(binomial(count, 1/2) <= them) stays within 2.5 %. */
function signTestRank(count: number): number {
  let probability = 0.5 ** count;
  let sum = probability;
  let rank = 0;
  while (sum <= 0.025) {
    probability *= (count - rank) / (rank + 1);
    rank++;
    sum += probability;
  }
  return Math.max(0, rank - 1);
}
