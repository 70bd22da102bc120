/** What the bench commands share: flags, and measurements as text. */

import type { Spread } from "../bench/spread.ts";

export const BENCH_FLAGS: {
  readonly model: FlagText & { readonly type: "string"; readonly value: string; readonly required: true };
  readonly threads: FlagText & { readonly type: "integer" };
} = {
  model: { type: "string", value: "DIR", required: true, help: "Base: a Hugging Face folder, or embedded:NAME" },
  threads: { type: "integer", help: "Threads to compute with (one a core)" },
};

export const REPEATS: FlagText & { readonly type: "integer" } = { type: "integer", help: "Measurements to take" };

interface FlagText {
  readonly help: string;
}

/** The median, and from where to where: "12.5 (11.0 to 14.2) ms". */
export function spreadText({ median, least, most }: Spread, unit: string, digits = 1): string {
  return `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)}) ${unit}`;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB at most`;
}
