/** Runs that differ in their seed alone, as one line: mean and spread. */

import type { InferenceTimes, RunResult } from "./result.ts";

export interface SummaryRow {
  readonly task: string;
  readonly method: string;
  readonly rows: number | null;
  readonly lr: number | null;
  readonly metric: string;
  readonly seeds: number;
  readonly mean: number;
  /** Sample standard deviation over seeds; 0 of one. */
  readonly deviation: number;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly fileBytes: number;
  /** Largest over seeds. */
  readonly peakMemoryBytes: number;
  /** Median over seeds. */
  readonly tokensPerSecond: number;
  readonly seconds: number;
  /** Of a pass of the first seed's adapter; null where there is none. */
  readonly inference: InferenceTimes | null;
}

/** In the order of first appearance. */
export function summarise(results: readonly RunResult[]): SummaryRow[] {
  const groups = new Map<string, RunResult[]>();
  for (const result of results) {
    const key = JSON.stringify([result.task, result.method, result.rows]);
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  return [...groups.values()].map((group) => {
    const { task, method, rows, lr, metric, trainableParameters, totalParameters, fileBytes } = group[0]!;
    const values = group.map(({ quality }) => quality);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return {
      task,
      method,
      rows,
      lr,
      metric,
      seeds: group.length,
      mean,
      deviation: group.length > 1 ? Math.sqrt(squares / (group.length - 1)) : 0,
      trainableParameters,
      totalParameters,
      fileBytes,
      peakMemoryBytes: Math.max(...group.map((each) => each.peakMemoryBytes)),
      tokensPerSecond: median(group.map((each) => each.tokensPerSecond)),
      seconds: median(group.map((each) => each.seconds)),
      inference: group.find((each) => each.inference)?.inference ?? null,
    };
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
