/** Axes: from values to a scale, its ticks, and labels that share their decimals. */

import { type ScaleContinuousNumeric, scaleLinear, scaleLog } from "d3-scale";

export interface Axis {
  /** What is measured, with its unit. */
  readonly label: string;
  /** Default linear; a log axis leaves out what is not positive. */
  readonly scale?: "linear" | "log";
  /** Ticks at whole numbers only. */
  readonly integers?: boolean;
  /** What the axis spans at least, instead of the smallest and largest value. */
  readonly domain?: readonly [number, number];
}

export type Scale = ScaleContinuousNumeric<number, number>;

export interface Tick {
  readonly at: number;
  readonly label: string;
}

/** Whether `value` has a place on the axis. */
export function fits(axis: Axis, value: number): boolean {
  return Number.isFinite(value) && (axis.scale !== "log" || value > 0);
}

/** Smallest and largest of the values that fit the axis; null when none does. */
export function extentOf(axis: Axis, values: Iterable<number>): [number, number] | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!fits(axis, value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

/** The scale of `axis` without its range; a single value gets room on both sides. */
export function scaleOf(axis: Axis, values: Iterable<number>): Scale {
  const log = axis.scale === "log";
  let [low, high] = axis.domain ?? extentOf(axis, values) ?? (log ? [0.1, 10] : [0, 1]);
  if (low === high) {
    const room = axis.integers === true ? 1 : Math.abs(low) / 10 || 1;
    [low, high] = log ? [low / 2, high * 2] : [low - room, high + room];
  }
  return (log ? scaleLog() : scaleLinear()).domain([low, high]);
}

/** About `wanted` ticks of the scale, with labels such as 0.5 1.0 1.5, 0 2e−4 4e−4 or 0 10k 20k. */
export function ticksOf(axis: Axis, scale: Scale, wanted: number): Tick[] {
  let values = scale.ticks(wanted);
  if (axis.integers === true) values = values.filter(Number.isInteger);
  if (axis.scale === "log") {
    // The scale marks every digit of a decade; over several decades d3 labels only some, and so do we.
    const label = scale.tickFormat(wanted, "g");
    return values.filter((value) => label(value) !== "").map((at) => ({ at, label: tickLabels([at])[0]! }));
  }
  const labels = tickLabels(values);
  return values.map((at, i) => ({ at, label: labels[i]! }));
}

function tickLabels(values: readonly number[]): string[] {
  const largest = Math.max(...values.map(Math.abs));
  if (largest < 1e-3 || largest >= 1e12) {
    return values.map((value) => (value === 0 ? "0" : minus(clean(value).toExponential().replace("e+", "e"))));
  }
  const [unit, suffix] =
    largest >= 1e9 ? [1e9, "G"] : largest >= 1e6 ? [1e6, "M"] : largest >= 1e4 ? [1e3, "k"] : [1, ""];
  const scaled = values.map((value) => clean(value / unit));
  const decimals = Math.max(...scaled.map((value) => String(value).split(".")[1]?.length ?? 0));
  return scaled.map((value) => minus(value === 0 ? "0" : `${value.toFixed(decimals)}${suffix}`));
}

/** Without the last bits that binary fractions leave: 0.30000000000000004 is 0.3. */
function clean(value: number): number {
  return Number(value.toPrecision(6));
}

function minus(text: string): string {
  return text.replaceAll("-", "\u2212");
}
