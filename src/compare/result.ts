/** What one run showed, as its folder keeps it. */

import { LowrankError } from "../errors.ts";
import type { EvalEvent, TrainEvent } from "../train/events.ts";

export interface RunResult {
  readonly task: string;
  readonly method: string;
  readonly seed: number;
  readonly rows: number | null;
  readonly lr: number | null;
  /** Name and value of the quality on the test rows, and on the held-out ones that the choice was made by. */
  readonly metric: string;
  readonly quality: number;
  readonly heldOut: number;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly steps: number;
  readonly seconds: number;
  readonly tokensPerSecond: number;
  readonly peakMemoryBytes: number;
  /** Of the weight files that the run wrote. */
  readonly fileBytes: number;
  readonly out: string;
  /** Of the first seed's run, where it made an adapter. */
  readonly inference?: InferenceTimes;
}

/** Medians of a forward pass in milliseconds; null where there is none to measure. */
export interface InferenceTimes {
  readonly base: number | null;
  readonly unmerged: number | null;
  readonly merged: number | null;
}

/** A run was stopped from outside: the comparison stops, too, and goes on at the next call. */
export class RunInterrupted extends LowrankError {}

/** A run that could not be finished, with what it said. */
export interface FailedRun {
  readonly task: string;
  readonly method: string;
  readonly seed: number;
  readonly rows: number | null;
  readonly error: string;
}

/** Metrics that stand for the quality of a task, in the order in which they are looked for. */
const METRICS = ["accuracy", "pearson", "loss"] as const;

/** The metric's name among an evaluation's numbers. */
export function metricName(asked: string | null, numbers: Readonly<Record<string, unknown>>): string {
  if (asked !== null) return asked;
  return METRICS.find((name) => typeof numbers[name] === "number") ?? "loss";
}

/** Whether less of it is better. */
export function isCost(metric: string): boolean {
  return /loss|perplexity|error/.test(metric);
}

/** Whether a is better than b. */
export function better(metric: string, a: number, b: number): boolean {
  return isCost(metric) ? a < b : a > b;
}

/** The evaluation whose weights a run kept: of its best step, else the last. */
export function keptEvaluation(events: readonly TrainEvent[]): EvalEvent | null {
  const best = events.find((event) => event.event === "done")?.bestStep ?? null;
  const evaluations = events.filter((event) => event.event === "eval");
  return evaluations.findLast(({ step }) => step === best) ?? evaluations.at(-1) ?? null;
}
