/** The report of the quickstart: adapters of one base, before and after, side by side. */

import type { Series } from "./chart.ts";
import { lineChart } from "./chart.ts";
import { trainingSeries } from "./curves.ts";
import { byteSize, change, count, decimal, duration, listed, percent, plural, short, significant } from "./format.ts";
import { commandBlock, type Html, html, page, section } from "./html.ts";
import type { Point } from "./points.ts";
import { shorten } from "./samples.ts";
import { type Fact, factTable, table } from "./table.ts";

export interface StepLoss {
  readonly step: number;
  /** Nats per target token. */
  readonly loss: number;
}

export interface QuickstartAdapter {
  readonly name: string;
  /** What it learned from, in a few words. */
  readonly description: string;
  readonly path: string;
  /** On rows that training never saw, nats per target token. */
  readonly evalLossBefore: number;
  readonly evalLossAfter: number;
  readonly trainableParameters: number;
  /** Base (tied weights once) and adapter. */
  readonly totalParameters: number;
  readonly adapterBytes: number;
  /** Of training. */
  readonly seconds: number;
  /** Largest difference between the logits of the merged model and those of base plus adapter; null: not merged. */
  readonly mergeMaxAbsDiff: number | null;
  /** Time to make this the active adapter of the loaded base; null: not measured. */
  readonly switchMs: number | null;
  readonly curve: readonly StepLoss[];
  readonly evalCurve: readonly StepLoss[];
}

export interface QuickstartSample {
  readonly prompt: string;
  /** The same prompt continued by the base, each adapter and their blend. */
  readonly outputs: readonly { readonly label: string; readonly text: string }[];
}

export interface QuickstartReportInput {
  readonly base: { readonly name: string; readonly parameters: number; readonly bytes: number };
  readonly adapters: readonly QuickstartAdapter[];
  readonly samples: readonly QuickstartSample[];
  /** Machine, versions, seed. */
  readonly facts: readonly Fact[];
  /** Commands to go on with. */
  readonly next: readonly string[];
}

/** A complete HTML document that needs nothing beside it. */
export function quickstartReport(input: QuickstartReportInput): string {
  const { base, adapters } = input;
  return page(
    "lowrank quickstart",
    html`<header>
<p class="kind">lowrank quickstart</p>
<h1>${plural(adapters.length, "adapter")} on one base model</h1>
<p class="lede">${summary(input)}</p>
${beforeAndAfter(adapters)}</header>
${section("Loss while training", curves(adapters))}
${section("The same prompt, continued", samples(input.samples))}
${section("Sizes", sizes(input))}
${section("Switching and merging", proofs(adapters))}
${section("Next: your own data", commands(input.next))}
${section("This run", factTable(`On ${base.name}`, input.facts))}`,
  );
}

function summary({ base, adapters }: QuickstartReportInput): string {
  const seconds = adapters.reduce((sum, adapter) => sum + adapter.seconds, 0);
  const fell = adapters.every((adapter) => adapter.evalLossAfter < adapter.evalLossBefore);
  const results = adapters.map(({ name, evalLossBefore: before, evalLossAfter: after }) => {
    const by = change(before, after);
    return `${fell ? by.slice(1) : by} for ${name}`; // "fell by" says what the sign says
  });
  const who = `${plural(adapters.length, "LoRA adapter")} learned from real text on ${base.name} (${short(base.parameters)} parameters)`;
  return `${who} in ${duration(seconds)}; loss on text held out from training ${fell ? "fell" : "changed"} by ${listed(results)}.`;
}

function beforeAndAfter(adapters: readonly QuickstartAdapter[]): Html {
  return table(
    "Loss on held-out text, nats per token: lower is better",
    [
      { head: "Adapter" },
      { head: "Before", number: true },
      { head: "After", number: true },
      { head: "Change", number: true },
      { head: "Training", number: true, roomy: true },
    ],
    adapters.map(({ name, description, evalLossBefore: before, evalLossAfter: after, seconds }) => [
      html`${name}<span class="about">${description}</span>`,
      decimal(before),
      decimal(after),
      change(before, after),
      duration(seconds),
    ]),
  );
}

/** One chart for each adapter, all to the same scale. */
function curves(adapters: readonly QuickstartAdapter[]): Html | null {
  const pointsOf = (losses: readonly StepLoss[]): Point[] => losses.map(({ step, loss }) => ({ x: step, y: loss }));
  const shown = adapters.filter(({ curve, evalCurve }) => curve.length + evalCurve.length > 0);
  if (shown.length === 0) return null;
  const finite = shown
    .flatMap(({ curve, evalCurve }) => [...curve, ...evalCurve])
    .map(({ loss }) => loss)
    .filter(Number.isFinite);
  const low = finite.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = finite.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const y = { label: "loss, nats per token", ...(low < high ? { domain: [low, high] as const } : {}) };
  const charts = shown.map(({ name, curve, evalCurve }) => {
    const heldOut: Series = { name: "held-out text", colour: 2, look: "marks", points: pointsOf(evalCurve) };
    const series = [...trainingSeries("training text", 1, pointsOf(curve)), ...(evalCurve.length > 0 ? [heldOut] : [])];
    return lineChart({ title: name, x: { label: "step", integers: true }, y, series, half: true });
  });
  return html`<div class="halves">${charts}</div>\n`;
}

function samples(all: readonly QuickstartSample[]): Html | null {
  if (all.length === 0) return null;
  return html`<p>One base in memory; only the adapter changes between the columns.</p>
${all.map(
  ({ prompt, outputs }) => html`<h3 class="prompted" dir="auto">${shorten(prompt)}</h3>
<div class="columns">
${outputs.map(
  ({ label, text }) =>
    html`<div><h4>${label}</h4><p class="sample" dir="auto">${shorten(text.trimStart())}</p></div>\n`,
)}</div>\n`,
)}`;
}

function sizes({ base, adapters }: QuickstartReportInput): Html {
  const bar = (bytes: number): Html => {
    const share = Math.max(0.4, (100 * bytes) / base.bytes);
    return html`<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width="${Math.min(100, share).toFixed(2)}" height="1"/></svg>`;
  };
  const rows = [
    [base.name, count(base.parameters), byteSize(base.bytes), "100 %", bar(base.bytes)],
    ...adapters.map((adapter) => [
      html`${adapter.name}<span class="about">${adapter.path}</span>`,
      count(adapter.trainableParameters),
      byteSize(adapter.adapterBytes),
      percent(adapter.adapterBytes / base.bytes),
      bar(adapter.adapterBytes),
    ]),
  ];
  const shares = adapters.map(
    ({ name, trainableParameters, totalParameters }) =>
      `${name} trains ${percent(trainableParameters / totalParameters)} of ${count(totalParameters)}`,
  );
  return html`<p>An adapter is all that one has to store and send for a new skill. Of the parameters of base and adapter, ${listed(shares)}.</p>
${table(
  "On disk",
  [
    { head: "Weights" },
    { head: "Parameters", number: true },
    { head: "Size", number: true },
    { head: "Of the base", number: true },
    { head: "To scale", roomy: true },
  ],
  rows,
)}`;
}

function proofs(adapters: readonly QuickstartAdapter[]): Html {
  return html`<p>Switching makes another adapter active on the base that is already loaded. Merging writes an adapter into the base’s weights; the difference is between the logits of the merged model and those of base plus adapter, the largest over the probe rows.</p>
${table(
  "Measured in this run",
  [{ head: "Adapter" }, { head: "Switch", number: true }, { head: "Merged − unmerged logits, largest", number: true }],
  adapters.map(({ name, switchMs, mergeMaxAbsDiff }) => [
    name,
    switchMs === null ? "not measured" : duration(switchMs / 1000),
    mergeMaxAbsDiff === null ? "not merged" : significant(mergeMaxAbsDiff),
  ]),
)}`;
}

function commands(next: readonly string[]): Html | null {
  return next.length === 0 ? null : html`${next.map(commandBlock)}`;
}
