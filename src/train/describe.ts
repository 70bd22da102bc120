/** What a run says of itself: its first event, its last, and why it stopped. */

import { preflight } from "../data/preflight.ts";
import { DataError } from "../errors.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { DoneEvent, StartEvent, StepEvent } from "./events.ts";
import type { TrainOptions } from "./options.ts";
import type { Prepared } from "./prepare.ts";
import type { BestSoFar, History } from "./state.ts";

/** Tokens of a row that the start event shows. */
const SHOWN_TOKENS = 128;

export function startEvent(
  options: TrainOptions,
  { setup, data, method, parameters, evalSource }: Prepared,
  steps: number,
  from: number,
): StartEvent {
  const trainableParameters = [...parameters.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const added = options.method === "full" ? 0 : trainableParameters;
  return {
    event: "start",
    trainableParameters,
    totalParameters: setup.trace.parameters + added,
    targets: method.targets,
    rows: data.statistics.rows,
    targetTokens: data.statistics.targetTokens,
    truncatedRows: data.statistics.truncatedRows,
    steps,
    task: setup.task,
    precision: options.precision,
    threads: options.threads,
    ...(from === 0 ? {} : { resumedFrom: from }),
    data: preflight(data, { ...setup, maxLength: options.maxLength, limit: SHOWN_TOKENS }),
    evalData: evalSource,
  };
}

export function doneEvent(
  { out }: TrainOptions,
  history: History,
  best: BestSoFar | null,
  steps: number,
  seconds: number,
): DoneEvent {
  const done = history.filter((event) => event.event === "step");
  const speeds = (done.length > 1 ? done.slice(1) : done)
    .map(({ tokensPerSecond }) => tokensPerSecond)
    .toSorted((a, b) => a - b);
  return {
    event: "done",
    out,
    steps,
    loss: done.at(-1)?.loss ?? Number.NaN,
    bestStep: best?.step ?? null,
    seconds,
    tokensPerSecond: speeds[Math.floor(speeds.length / 2)] ?? 0,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
}

/** Why training cannot go on from this step; null when it can. `median` is divergedFrom's. */
export function diagnosis(
  { step, loss, gradNorm }: Pick<StepEvent, "step" | "loss" | "gradNorm">,
  median: number | null,
  options: Pick<TrainOptions, "lr" | "divergenceRatio" | "divergencePatience" | "out">,
  { from, best }: { readonly from: number; readonly best: BestSoFar | null },
): DataError | null {
  const kept = best ? ` The best weights, of step ${best.step}, are in ${options.out}.` : "";
  const rate = options.lr === null ? "" : ` ${options.lr}`;
  const slower = `The learning rate${rate} is probably too high: lower it, raise --warmup-steps or lower --max-grad-norm.`;
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    const cause =
      step === from + 1
        ? "The base or the adapter may hold NaN, or a row may have no targets that the model can score."
        : slower;
    return new DataError(
      `Step ${step}: the loss is ${loss} and the gradient norm ${gradNorm}; training stopped before the update. ${cause}${kept}`,
    );
  }
  if (median === null) return null;
  const { divergencePatience: patience, divergenceRatio: ratio } = options;
  return new DataError(
    `Step ${step}: the last ${patience} losses were each more than ${ratio} times that of the first steps ` +
      `(${median.toPrecision(4)}; now ${loss.toPrecision(4)}), so training has diverged and was stopped. ${slower} ` +
      `If the rows only get harder, use --divergence-ratio 0.${kept}`,
  );
}
