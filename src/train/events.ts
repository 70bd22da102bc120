/** The events of a training run: what `train --json` prints, a line each, and `train()` yields. */

import type { DataReport } from "../data/preflight.ts";
import type { Precision } from "../precision/precision.ts";

export interface StartEvent {
  readonly event: "start";
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** Modules that carry an adapter. */
  readonly targets: readonly string[];
  readonly rows: number;
  readonly targetTokens: number;
  readonly truncatedRows: number;
  readonly steps: number;
  readonly task: string;
  readonly precision: Precision;
  readonly threads: number;
  /** The step that a resumed run goes on from. */
  readonly resumedFrom?: number;
  /** The training rows: numbers, and a row with its mask. */
  readonly data: DataReport;
  /** Where the held-out rows come from; null without any. */
  readonly evalData: { readonly file: string; readonly rows: number; readonly split: boolean } | null;
}

export interface StepEvent {
  readonly event: "step";
  readonly step: number;
  /** Mean over the step's target tokens, before the update. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Real tokens, without padding. */
  readonly tokens: number;
  readonly targetTokens: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  /** What a preference loss says of the rows: `rewards/margins` and others, by TRL's names. */
  readonly [metric: string]: number | string;
}

export interface EvalEvent {
  readonly event: "eval";
  readonly step: number;
  readonly loss: number;
  readonly perplexity?: number;
  /** The task's own metrics. */
  readonly [metric: string]: number | string | undefined;
}

/** What the model in training wrote, greedily. */
export interface SampleEvent {
  readonly event: "sample";
  readonly step: number;
  readonly prompt: string;
  readonly text: string;
}

/** Training ends before its last step, as planned: `done` follows. */
export interface StoppedEvent {
  readonly event: "stopped";
  readonly step: number;
  readonly reason: "early-stopping";
  readonly message: string;
}

export interface CheckpointEvent {
  readonly event: "checkpoint";
  readonly step: number;
  readonly path: string;
}

export interface WarningEvent {
  readonly event: "warning";
  readonly message: string;
}

export interface InterruptedEvent {
  readonly event: "interrupted";
  readonly step: number;
  /** The checkpoint that `--resume` goes on from. */
  readonly path: string;
}

export interface DoneEvent {
  readonly event: "done";
  readonly out: string;
  readonly steps: number;
  /** Of the last step. */
  readonly loss: number;
  /** The step whose weights were kept; null without evaluation data. */
  readonly bestStep: number | null;
  readonly seconds: number;
  /** Median over the steps after the first. */
  readonly tokensPerSecond: number;
  readonly peakMemoryBytes: number;
}

export type TrainEvent =
  | StartEvent
  | StepEvent
  | EvalEvent
  | SampleEvent
  | StoppedEvent
  | CheckpointEvent
  | WarningEvent
  | InterruptedEvent
  | DoneEvent;
