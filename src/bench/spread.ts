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
