/** The parts of the page that the server draws: the list of runs, one run, and several beside each other. */

import { lineChart, type Series } from "../report/chart.ts";
import { trainingSeries } from "../report/curves.ts";
import { decimal, duration, significant } from "../report/format.ts";
import { type Html, html, section } from "../report/html.ts";
import { lossUnit, runOf } from "../report/run.ts";
import { table } from "../report/table.ts";
import { runOverview } from "../report/train-report.ts";
import type { LoggedRun } from "./runs.ts";

/** Runs in one chart: as many as the style has colours. */
export const MOST_COMPARED = 6;

/** A check box a run; `chosen` are shown beside it. */
export function runList(runs: readonly LoggedRun[], chosen: readonly string[]): Html {
  if (runs.length === 0) {
    return html`<p class="note">No runs here yet. <code>lowrank train --out runs/mine …</code> makes one.</p>\n`;
  }
  const items = runs.map((run) => {
    const { id, state } = run;
    const { steps, start } = runOf(run.events);
    const last = steps.at(-1);
    const progress = start === null ? "" : `${last?.step ?? 0} of ${start.steps} steps`;
    const loss = last === undefined ? "" : `, loss ${decimal(last.loss)}`;
    const box = chosen.includes(id)
      ? html`<input type="checkbox" name="run" value="${id}" checked>`
      : html`<input type="checkbox" name="run" value="${id}">`;
    return html`<li><label>${box}<span class="name">${id}</span><span class="state ${state}">${state}</span>
<span class="about">${progress}${loss}</span></label></li>\n`;
  });
  return html`<ul class="runs">\n${items}</ul>\n`;
}

/** What is chosen: nothing, one run, or several. */
export function runView(runs: readonly LoggedRun[]): Html {
  const [first] = runs;
  if (first === undefined) return html`<p class="note">Choose a run on the left; several are compared.</p>\n`;
  return runs.length === 1 ? oneRun(first) : comparison(runs.slice(0, MOST_COMPARED));
}

function oneRun({ id, events, state, error }: LoggedRun): Html {
  const run = runOf(events);
  const failed = error === null ? null : html`<p class="warning">${error}</p>\n`;
  const report = state === "done" ? html` <a href="/runs/${encodeURIComponent(id)}/report.html">Its report</a>` : null;
  return html`<header><p class="kind">${state}${report}</p>
<h1>${id}</h1>
${failed}</header>
${runOverview(run, events)}`;
}

function comparison(runs: readonly LoggedRun[]): Html {
  const all = runs.map(({ id, events }, i) => ({ id, run: runOf(events), colour: (i + 1) as Series["colour"] }));
  const unit = lossUnit(all[0]!.run);
  const curve = (title: string, series: readonly Series[]): Html | null =>
    series.some(({ points }) => points.length > 0)
      ? lineChart({ title, x: { label: "step", integers: true }, y: { label: unit }, series })
      : null;
  const training = all.flatMap(({ id, run, colour }) =>
    // The mean alone: thin lines of several runs hide one another.
    trainingSeries(
      id,
      colour,
      run.steps.map(({ step, loss }) => ({ x: step, y: loss })),
    )
      .slice(-1)
      .map((series) => ({ ...series, name: id })),
  );
  const heldOut = all.map(
    ({ id, run, colour }): Series => ({
      name: id,
      colour,
      look: "marks",
      points: run.evals.map(({ step, loss }) => ({ x: step, y: loss })),
    }),
  );
  const rows = all.map(({ id, run: { start, steps, evals, done } }) => {
    const best = evals.toSorted((a, b) => a.loss - b.loss)[0];
    const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
    return [
      id,
      String(steps.at(-1)?.step ?? 0),
      steps.length === 0 ? "–" : decimal(steps.at(-1)!.loss),
      best === undefined ? "–" : `${decimal(best.loss)} at ${best.step}`,
      start === null ? "–" : String(start.trainableParameters.toLocaleString("en-US")),
      significant(done?.tokensPerSecond ?? steps.at(-1)?.tokensPerSecond ?? 0),
      duration(seconds),
    ];
  });
  const columns = ["Run", "Steps", "Last loss", "Best held out", "Trained", "Tokens/s", "Time"];
  return html`<header><p class="kind">Comparison</p>
<h1>${runs.length} runs</h1>
</header>
${section("Curves", html`${curve("Training loss", training)}${curve("Held-out loss", heldOut)}`)}
${section(
  "Numbers",
  table(
    "The runs beside each other",
    columns.map((head, i) => ({ head, number: i > 0 })),
    rows,
  ),
)}`;
}
