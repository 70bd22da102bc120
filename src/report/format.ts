/** Numbers as the reports write them: true minus signs, a space that does not break before units, NaN and infinities as words. */

const LARGE = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const;

/** A whole number with thousands separators: 1,234,567; fractions keep up to six decimals. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  return signed(value.toLocaleString("en-US", { maximumFractionDigits: 6 }));
}

/** With `digits` decimals: 3.2104; very large and very small numbers in powers of ten. */
export function decimal(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 0.5 * 10 ** -digits)) return significant(value);
  return signed(value.toFixed(digits));
}

/** Three significant digits: 3.1e-6, 0.0123, 41.3, 1,230. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const rounded = Number(value.toPrecision(3));
  const size = Math.abs(rounded);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return signed(rounded.toExponential().replace("e+", "e"));
  return count(rounded);
}

/** 5.32 M, 1.5 k: for parameters, whose exact count stands elsewhere or does not matter. */
export function short(value: number): string {
  // The rounded value picks the unit: 999,999 is 1 M, not 1,000 k.
  const rounded = Number(value.toPrecision(3));
  const unit = LARGE.find(([size]) => Math.abs(rounded) >= size);
  return unit === undefined ? significant(value) : `${significant(value / unit[0])}\u00a0${unit[1]}`;
}

/** Bytes in decimal units: 812 B, 4.1 kB, 10.6 MB. */
export function byteSize(bytes: number): string {
  const text = short(bytes);
  return /[kMG]$/.test(text) ? `${text}B` : `${text}\u00a0B`;
}

/** A time in seconds: 850 ms, 41.3 s, 3 min 12 s, 2 h 5 min. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return notFinite(seconds);
  if (seconds < 1) return `${significant(seconds * 1000)}\u00a0ms`;
  if (seconds < 59.95) return `${significant(seconds)}\u00a0s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0min\u00a0${whole % 60}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return `${count(Math.floor(minutes / 60))}\u00a0h\u00a0${minutes % 60}\u00a0min`;
}

/** A fraction as a percentage: 0.0039 gives 0.39 %. */
export function percent(fraction: number): string {
  return `${significant(fraction * 100)}\u00a0%`;
}

/** The relative change, with its sign: from 4 to 3 is −25.0 %. */
export function change(before: number, after: number): string {
  const relative = (after / before - 1) * 100;
  if (!Number.isFinite(relative)) return "–";
  return `${relative > 0 ? "+" : ""}${signed(relative.toFixed(1))}\u00a0%`;
}

/** `2 adapters`, `1 adapter`. */
export function plural(amount: number, noun: string): string {
  return `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;
}

/** Names as prose: `a`, `a and b`, `a, b and c`. */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function signed(text: string): string {
  return /^-0(\.0*)?$/.test(text) ? text.slice(1) : text.replaceAll("-", "\u2212");
}

function notFinite(value: number): string {
  return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "\u2212∞";
}

/** A standard deviation over runs; one run has none. */
export function spread(deviation: number, runs: number): string {
  return runs > 1 ? decimal(deviation) : "–";
}
