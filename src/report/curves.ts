/** The curves of a run: loss, learning rate, gradient norm and speed. */

import type { Series } from "./chart.ts";
import { lineChart } from "./chart.ts";
import { type Html, html } from "./html.ts";
import { type Point, smooth, smoothingReach } from "./points.ts";
import { lossUnit, type Run } from "./run.ts";

const STEP = { label: "step", integers: true } as const;

/** A training curve: as it is when short, else thin behind its mean over neighbouring steps. */
export function trainingSeries(
  name: string,
  colour: Series["colour"],
  points: readonly Point[],
  scale: "linear" | "log" = "linear",
): Series[] {
  const reach = smoothingReach(points.length);
  if (reach === 0) return [{ name, colour, look: "line", points }];
  return [
    { name, colour, look: "faint", points },
    { name: `mean of ${2 * reach + 1} steps`, colour, look: "line", points: smooth(points, reach, scale) },
  ];
}

/** Null for a run without steps. */
export function runCurves(run: Run): Html | null {
  if (run.steps.length === 0) return null;
  const series = (value: (step: Run["steps"][number]) => number): Point[] =>
    run.steps.map((step) => ({ x: step.step, y: value(step) }));
  const heldOut: Series = {
    name: "held-out rows",
    colour: 2,
    look: "marks",
    points: run.evals.map(({ step, loss }) => ({ x: step, y: loss })),
  };
  const loss = lineChart({
    title: "Loss",
    x: STEP,
    y: { label: lossUnit(run) },
    series: [
      ...trainingSeries(
        "training rows",
        1,
        series((step) => step.loss),
      ),
      ...(run.evals.length === 0 ? [] : [heldOut]),
    ],
  });
  const norms = series((step) => step.gradNorm);
  const spread = norms.map((point) => point.y).filter((y) => y > 0 && Number.isFinite(y));
  const scale =
    spread.length > 1 && spread.reduce((a, b) => Math.max(a, b)) > 100 * spread.reduce((a, b) => Math.min(a, b))
      ? "log"
      : "linear";
  const reach = smoothingReach(run.steps.length);
  const note = (mean: string): string =>
    reach === 0 ? "" : `thin: each step; thick: ${mean} of\u00a0${2 * reach + 1}`;
  const half = { x: STEP, half: true } as const;
  const rewards = (side: string): Point[] => series((step) => Number(step[`rewards/${side}`] ?? Number.NaN));
  const judged = run.steps.some((step) => step["rewards/chosen"] !== undefined)
    ? lineChart({
        ...half,
        title: "Rewards",
        y: { label: "gain over the reference" },
        series: [
          { name: "chosen", colour: 3, look: "line", points: rewards("chosen") },
          { name: "rejected", colour: 2, look: "line", points: rewards("rejected") },
        ],
      })
    : null;
  const rates: Series[] = [
    { name: "learning rate", colour: 3, look: "line", points: series((step) => step.learningRate) },
  ];
  const speeds = trainingSeries(
    "tokens per second",
    5,
    series((step) => step.tokensPerSecond),
  );
  return html`${loss}<div class="halves">${[
    judged,
    lineChart({ ...half, title: "Learning rate", y: { label: "factor on the update" }, series: rates }),
    lineChart({
      ...half,
      title: "Gradient norm",
      y: { label: `L2, before clipping${scale === "log" ? ", log scale" : ""}`, scale },
      series: trainingSeries("gradient norm", 4, norms, scale),
      note: note(scale === "log" ? "geometric mean" : "mean"),
    }),
    lineChart({
      ...half,
      title: "Speed",
      y: { label: "tokens per second, without padding" },
      series: speeds,
      note: note("mean"),
    }),
  ]}</div>\n`;
}
