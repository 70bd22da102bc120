/** The report of one training run: what came of it, its curves, samples, data, environment, files and command. */

import type { EvalEvent, TrainEvent } from "../train/events.ts";
import { runCurves } from "./curves.ts";
import { byteSize, change, count, decimal, duration, percent, plural, significant } from "./format.ts";
import { type Content, commandBlock, type Html, html, page, section } from "./html.ts";
import { foldTargets, type HeldOut, heldOutOf, type Run, runOf } from "./run.ts";
import { shorten } from "./samples.ts";
import { type Fact, factTable, keyFigures, table } from "./table.ts";

export interface TrainSample {
  readonly prompt: string;
  /** What the model wrote after the prompt. */
  readonly text: string;
  /** The step after which it wrote it; absent: at the end. */
  readonly step?: number;
}

export interface TrainReportInput {
  readonly title: string;
  /** As typed, so that it can be run again. */
  readonly command: string;
  /** All events of the run, or those up to now. */
  readonly events: readonly TrainEvent[];
  /** Machine, versions, threads. */
  readonly environment: readonly Fact[];
  /** Files, rows, tokens, what was truncated. */
  readonly dataRows: readonly Fact[];
  readonly samples: readonly TrainSample[];
  readonly files: readonly (readonly [name: string, bytes: number])[];
}

/** Rows of the table of evaluations; a longer one is thinned evenly. */
const MOST_EVALS = 24;

/** A complete HTML document that needs nothing beside it. */
export function trainReport(input: TrainReportInput): string {
  const run = runOf(input.events);
  const heldOut = heldOutOf(run);
  const warnings = [...new Set(run.warnings.map(({ message }) => message))];
  return page(
    input.title,
    html`<header>
<p class="kind">Training report</p>
<h1>${input.title}</h1>
<p class="lede">${outcome(run, heldOut)}</p>
${warnings.map((message) => html`<p class="warning">${message}</p>\n`)}${keyFigures(figures(run, heldOut))}</header>
${section("Curves", runCurves(run))}${section("Evaluations on held-out rows", evaluations(run, heldOut))}
${section("Samples", samples(input.samples))}${section("Model and adapter", factTable("What was trained", model(run)))}
${section("Data", factTable("What it was trained on", input.dataRows))}
${section("Environment", factTable("Where it ran", input.environment))}
${section("Files", files(input.files))}${section("Command", commandBlock(input.command))}`,
  );
}

/** A run up to now, without what only its end knows: for a page that follows it. */
export function runOverview(run: Run, events: readonly TrainEvent[]): Html {
  const heldOut = heldOutOf(run);
  const written = events.flatMap((event) => (event.event === "sample" ? [event] : []));
  return html`<p class="lede">${outcome(run, heldOut)}</p>
${keyFigures(figures(run, heldOut))}${section("Curves", runCurves(run))}
${section("Evaluations on held-out rows", evaluations(run, heldOut))}${section("Samples", samples(written))}
${section("Model and adapter", factTable("What is trained", model(run)))}`;
}

/** One sentence on the result, and one on the state of a run that has not ended. */
function outcome(run: Run, heldOut: HeldOut | null): Content {
  return html`${result(run, heldOut)}${state(run)}`;
}

function result({ steps, done }: Run, heldOut: HeldOut | null): string {
  const [first, last] = [steps[0], steps.at(-1)];
  const after =
    done === null
      ? `after ${plural(last?.step ?? 0, "step")}`
      : `in ${plural(done.steps, "step")}, ${duration(done.seconds)}`;
  if (heldOut !== null) {
    const [from, to] = [heldOut.before.loss, heldOut.after.loss];
    const verb = to < from ? "fell" : to > from ? "rose" : "went";
    return `Held-out loss ${verb} from ${decimal(from)} to ${decimal(to)} (${change(from, to)}) ${after}.`;
  }
  if (first === undefined || last === undefined) return "No step was taken.";
  const losses =
    first === last ? `was ${decimal(first.loss)}` : `went from ${decimal(first.loss)} to ${decimal(last.loss)}`;
  return `Training loss ${losses} ${after}; there were no held-out rows to judge it by.`;
}

function state({ done, interrupted }: Run): Content {
  if (done !== null) return null;
  if (interrupted === null) return " The run has not reached its end.";
  return html` The run was interrupted at step ${count(interrupted.step)}; <code>--resume</code> goes on from ${interrupted.path}.`;
}

function figures({ start, steps, done }: Run, heldOut: HeldOut | null): [string, string, string][] {
  const rows: [string, string, string][] = [];
  const kept = done?.bestStep ?? null;
  if (heldOut !== null) {
    const remark = kept === null ? "" : `the weights of step ${count(kept)} were kept`;
    rows.push(["Held-out loss", `${decimal(heldOut.before.loss)} → ${decimal(heldOut.after.loss)}`, remark]);
  } else if (steps.length > 0) {
    rows.push(["Training loss", `${decimal(steps[0]!.loss)} → ${decimal(steps.at(-1)!.loss)}`, ""]);
  }
  const planned = start === null ? "" : `of ${count(start.steps)}`;
  rows.push(["Steps", count(done?.steps ?? steps.at(-1)?.step ?? 0), planned]);
  if (done !== null) {
    rows.push(["Time", duration(done.seconds), `${significant(done.tokensPerSecond)} tokens per second, median`]);
    rows.push(["Peak memory", byteSize(done.peakMemoryBytes), "of the whole process"]);
  }
  if (start !== null) {
    const { trainableParameters: trained, totalParameters: total } = start;
    rows.push(["Trainable parameters", percent(trained / total), `${count(trained)} of ${count(total)}`]);
  }
  return rows;
}

function evaluations({ evals }: Run, heldOut: HeldOut | null): Html | null {
  if (evals.length === 0) return null;
  const names = new Set(evals.flatMap((event) => Object.keys(event)));
  const metrics = [...names].filter((name) => !["event", "step", "loss"].includes(name));
  const stride = Math.ceil(evals.length / MOST_EVALS);
  const shown = evals.filter((event, i) => i % stride === 0 || i === evals.length - 1 || event === heldOut?.after);
  const columns = ["Step", "Loss", ...metrics.map(metricName)].map((head) => ({ head, number: true }));
  const cell = (value: EvalEvent[string]): Content => (typeof value === "number" ? decimal(value) : (value ?? "–"));
  const caption = `${plural(evals.length, "evaluation")}${shown.length < evals.length ? `, ${shown.length} shown` : ""}`;
  return table(
    caption,
    columns,
    shown.map((event) => [count(event.step), decimal(event.loss), ...metrics.map((name) => cell(event[name]))]),
  );
}

/** `meanSquaredError` as `Mean squared error`. */
function metricName(key: string): string {
  const words = key.replace(/([a-z])([A-Z])/g, (_, end: string, start: string) => `${end} ${start.toLowerCase()}`);
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
}

function samples(all: readonly TrainSample[]): Html | null {
  if (all.length === 0) return null;
  const prompts = [...new Set(all.map(({ prompt }) => prompt))];
  return html`<p class="note">The prompt in grey, then what the model wrote.</p>\n${prompts.map((prompt) => {
    const own = all.filter((sample) => sample.prompt === prompt);
    return own.map(
      ({ text, step }) => html`<h3>${step === undefined ? "After training" : `After step ${count(step)}`}</h3>
<p class="sample" dir="auto"><span class="prompt">${shorten(prompt)}</span>${shorten(text)}</p>\n`,
    );
  })}`;
}

function model({ start, done }: Run): Fact[] {
  if (start === null) return [];
  const facts: Fact[] = [
    ["Task", start.task],
    ["Adapted modules", start.targets.length === 0 ? "none" : `${start.targets.length}: ${foldTargets(start.targets)}`],
    ["Trainable parameters", start.trainableParameters],
    ["Parameters of base and adapter", start.totalParameters],
    ["Precision", start.precision],
    ["Threads", start.threads],
  ];
  if (start.resumedFrom !== undefined) facts.push(["Resumed from step", start.resumedFrom]);
  if (done !== null) facts.push(["Loss of the last step", decimal(done.loss)], ["Written to", done.out]);
  return facts;
}

function files(all: TrainReportInput["files"]): Html | null {
  if (all.length === 0) return null;
  const total = all.reduce((sum, [, bytes]) => sum + bytes, 0);
  return table(
    `${plural(all.length, "file")}, ${byteSize(total)}`,
    [{ head: "File" }, { head: "Size", number: true }, { head: "Bytes", number: true }],
    all.map(([name, bytes]) => [name, byteSize(bytes), count(bytes)]),
  );
}
