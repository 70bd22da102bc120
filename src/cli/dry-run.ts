/** `train --dry-run`: a few steps of the very run, in a folder that is gone afterwards, and what they say of all of it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import type { StartEvent, StepEvent, TrainEvent } from "../train/events.ts";
import type { TrainInput } from "../train/options.ts";
import { trainOptions } from "../train/options.ts";
import type { TrainRun } from "../train/start.ts";

/** Steps that are measured, and one before them that opens the session. */
const MEASURED = 4;

export interface DryRun {
  readonly event: "dry-run";
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** Training rows, after those held out. */
  readonly rows: number;
  readonly targetTokens: number;
  readonly steps: number;
  readonly measuredSteps: number;
  readonly tokensPerSecond: number;
  readonly secondsPerEpoch: number;
  /** Of all steps; evaluations and samples not counted. */
  readonly seconds: number;
  /** Of the measured steps. */
  readonly peakMemoryBytes: number;
  readonly options: Readonly<Record<string, unknown>>;
}

/** `train` starts a run; `onEvent` is told of its start, steps and warnings. Throws what training throws. */
export async function dryRun(
  given: TrainInput,
  train: (input: TrainInput) => TrainRun,
  onEvent: (event: TrainEvent) => void,
): Promise<DryRun> {
  const options = trainOptions(given);
  const folder = mkdtempSync(join(tmpdir(), "lowrank-dry-run-"));
  const cut = { evalData: null, evalSplit: 0, samplePrompts: null, saveSteps: null, resume: false } as const;
  const measured: StepEvent[] = [];
  let start: StartEvent | null = null;
  let peakMemoryBytes = 0;
  try {
    const most = Math.min(options.maxSteps ?? MEASURED + 1, MEASURED + 1);
    const input = { ...given, ...cut, out: join(folder, "out"), maxSteps: most };
    for await (const event of train(input)) {
      if (event.event === "start" || event.event === "warning" || event.event === "step") onEvent(event);
      if (event.event === "start") start = event;
      if (event.event === "step") measured.push(event);
      if (event.event === "done") ({ peakMemoryBytes } = event);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (start === null) throw new LowrankError("internal: a run has no start");
  const whole: StartEvent = start;
  const share = options.evalData === null ? 1 - options.evalSplit : 1;
  const rows = Math.ceil(whole.rows * share);
  const perEpoch = Math.ceil(rows / (options.batchSize * options.gradAccum));
  const steps = options.maxSteps ?? Math.ceil(options.epochs * perEpoch);
  const timed = measured.length > 1 ? measured.slice(1) : measured;
  const tokens = timed.reduce((sum, step) => sum + step.tokens, 0);
  const seconds = timed.reduce((sum, step) => sum + step.seconds, 0);
  const secondsPerEpoch = (whole.data.tokens * share * seconds) / tokens;
  return {
    event: "dry-run",
    trainableParameters: whole.trainableParameters,
    totalParameters: whole.totalParameters,
    rows,
    targetTokens: whole.targetTokens,
    steps,
    measuredSteps: timed.length,
    tokensPerSecond: tokens / seconds,
    secondsPerEpoch,
    seconds: (secondsPerEpoch * steps) / perEpoch,
    peakMemoryBytes,
    options: { ...options },
  };
}
