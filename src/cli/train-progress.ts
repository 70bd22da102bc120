/** A training run as people see it. */

import type { EvalEvent, StartEvent, StepEvent, TrainEvent } from "../train/events.ts";
import { doubts, sampleText } from "./commands/data-check.ts";
import type { DryRun } from "./dry-run.ts";
import { type Output, table } from "./output.ts";

/** Prints a run for people: a table at the start, one line that moves, a table at the end. */
export function trainProgress(output: Output): (event: TrainEvent) => void {
  let steps = 0;
  let smoothed = Number.NaN;
  let pace = Number.NaN; // seconds a step
  let first: EvalEvent | null = null;
  let last: EvalEvent | null = null;
  const step = ({ step: at, loss, tokensPerSecond, seconds }: StepEvent): string => {
    smoothed = Number.isNaN(smoothed) ? loss : 0.9 * smoothed + 0.1 * loss;
    pace = Number.isNaN(pace) ? seconds : 0.8 * pace + 0.2 * seconds;
    const left = duration((steps - at) * pace);
    const memory = `${(process.memoryUsage.rss() / 2 ** 30).toFixed(2)} GiB`;
    return `step ${at}/${steps}  loss ${loss.toFixed(4)}  smoothed ${smoothed.toFixed(4)}  ${Math.round(tokensPerSecond)} tokens/s  ${memory}  ${left} left`;
  };
  return (event) => {
    switch (event.event) {
      case "start":
        steps = event.steps;
        output.line(startTable(event));
        output.line(`\n${sampleText(event.data, output.style)}\n`);
        for (const doubt of doubts(event.data)) output.note(doubt);
        break;
      case "step":
        output.progress(step(event));
        break;
      case "eval": {
        first ??= event;
        last = event;
        const { event: _event, step: at, ...numbers } = event;
        const parts = Object.entries(numbers).map(([name, value]) => `${name} ${Number(value).toFixed(4)}`);
        output.line(`step ${at}: held-out ${parts.join(", ")}`);
        break;
      }
      case "sample":
        output.line(`step ${event.step}: ${output.style.dim(excerpt(event.prompt))}${excerpt(event.text)}`);
        break;
      case "stopped":
        output.line(`step ${event.step}: stopped early. ${event.message}`);
        break;
      case "done":
        output.line(
          table([
            ["steps", `${event.steps} in ${duration(event.seconds)}, ${Math.round(event.tokensPerSecond)} tokens/s`],
            ["loss", `${event.loss.toFixed(4)} at the last step, ${smoothed.toFixed(4)} smoothed`],
            ...(first && last
              ? [["held-out", `${first.loss.toFixed(4)} → ${last.loss.toFixed(4)}, best at step ${event.bestStep}`]]
              : []),
            ["memory", `${(event.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB at most`],
            ["written", event.out],
          ]),
        );
        break;
    }
  };
}

/** What a dry run found. */
export function planTable(plan: DryRun): string {
  return table([
    ["steps", `${plan.steps}, ${plan.measuredSteps} measured: ${Math.round(plan.tokensPerSecond)} tokens/s`],
    ["an epoch", duration(plan.secondsPerEpoch)],
    ["in all", `${duration(plan.seconds)}, evaluations and samples not counted`],
    ["memory", `${(plan.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB at most in these steps`],
    ["written", "nothing: --dry-run"],
  ]);
}

/** Masked models draw their targets in each step: none is counted before. */
function targetsOf({ task, targetTokens }: StartEvent): string {
  return task === "masked-lm" && targetTokens === 0 ? "targets drawn in each step" : `${targetTokens} targets`;
}

function startTable(event: StartEvent): string {
  const share = (100 * event.trainableParameters) / event.totalParameters;
  const targets = [...new Set(event.targets.map((name) => name.slice(name.lastIndexOf(".") + 1)))].join(", ");
  return table([
    ["task", event.task],
    [
      "rows",
      `${event.rows}, ${targetsOf(event)}${event.truncatedRows > 0 ? `, ${event.truncatedRows} cut at --max-length` : ""}`,
    ],
    ["longest", `${event.data.longestRow.tokens} tokens, line ${event.data.longestRow.line}`],
    ...(event.evalData
      ? [
          [
            "held-out",
            `${event.evalData.rows} rows${event.evalData.split ? " split off" : ""} of ${event.evalData.file}`,
          ],
        ]
      : [["held-out", "none: --eval-split 0.1 would hold rows out and keep the best weights"]]),
    ["trainable", `${event.trainableParameters} of ${event.totalParameters} parameters (${share.toPrecision(3)} %)`],
    ["modules", `${event.targets.length} (${targets})`],
    [
      "steps",
      `${event.steps}${event.resumedFrom === undefined ? "" : `, going on after ${event.resumedFrom}`}, ${event.threads} threads`,
    ],
  ]);
}

/** A text on one line, its beginning. */
function excerpt(text: string): string {
  const line = JSON.stringify(text).slice(1, -1);
  return line.length > 160 ? `${line.slice(0, 160)} …` : line;
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
