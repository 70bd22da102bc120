/** Curves before they are drawn: smoothing, and thinning to what a screen can show. */

export interface Point {
  readonly x: number;
  /** Not finite: a gap in the line. */
  readonly y: number;
}

/** Points on each side of the one that `smooth` averages around, for a curve of `length` points: 5 % of them. */
export function smoothingReach(length: number): number {
  return Math.floor(length / 40);
}

/**
 * The mean of each point and its neighbours, `reach` on either side or as many as there are: no lag, and no end that
 * hangs on one noisy step. Points that are not finite stay as they are and count for none.
 *
 * On a `log` scale the mean is geometric, so that one spike does not lift the line around it by decades; there points
 * must be positive to count.
 */
export function smooth(points: readonly Point[], reach: number, scale: "linear" | "log" = "linear"): Point[] {
  if (scale === "log") {
    const logs = points.map(({ x, y }) => ({ x, y: Math.log(y) }));
    return smooth(logs, reach).map(({ x, y }) => ({ x, y: Math.exp(y) }));
  }
  const sums = [0];
  const counts = [0];
  for (const [i, { y }] of points.entries()) {
    const finite = Number.isFinite(y);
    sums.push(sums[i]! + (finite ? y : 0));
    counts.push(counts[i]! + (finite ? 1 : 0));
  }
  return points.map(({ x, y }, i) => {
    if (!Number.isFinite(y)) return { x, y };
    const from = Math.max(0, i - reach);
    const to = Math.min(points.length, i + reach + 1);
    return { x, y: (sums[to]! - sums[from]!) / (counts[to]! - counts[from]!) };
  });
}

/**
 * The points that make up the picture of a line in `columns` columns: of each column its lowest, its highest and its
 * first gap, and both ends of the line. Spikes and gaps stay; what they hide goes. `position` places an x from 0 to 1.
 */
export function thin(points: readonly Point[], columns: number, position: (x: number) => number): readonly Point[] {
  if (points.length <= 2 * columns) return points;
  const kept = new Set<number>([0, points.length - 1]);
  let start = 0;
  const columnOf = (i: number): number => Math.floor(position(points[i]!.x) * columns);
  for (let i = 1; i <= points.length; i++) {
    if (i < points.length && columnOf(i) === columnOf(start)) continue;
    for (const index of extremes(points, start, i)) kept.add(index);
    start = i;
  }
  return [...kept].sort((a, b) => a - b).map((i) => points[i]!);
}

function extremes(points: readonly Point[], from: number, to: number): number[] {
  let lowest = -1;
  let highest = -1;
  let gap = -1;
  for (let i = from; i < to; i++) {
    const { y } = points[i]!;
    if (!Number.isFinite(y)) gap = gap < 0 ? i : gap;
    else {
      if (lowest < 0 || y < points[lowest]!.y) lowest = i;
      if (highest < 0 || y > points[highest]!.y) highest = i;
    }
  }
  return [lowest, highest, gap].filter((i) => i >= 0);
}
