/** The report of one training run on images: its curves, the samples on the way, and how to run it again. */

import type { ImageDoneEvent, ImageSampleEvent, ImageStartEvent, ImageTrainEvent } from "../image-train/events.ts";
import { lineChart, type Series } from "./chart.ts";
import { trainingSeries } from "./curves.ts";
import { change, count, decimal, duration, plural } from "./format.ts";
import { commandBlock, type Html, html, page, section } from "./html.ts";
import { pictureGrid } from "./picture-grid.ts";
import type { Point } from "./points.ts";
import { shorten } from "./samples.ts";
import { type Fact, factTable, keyFigures } from "./table.ts";

export interface ImageTrainReportInput {
  readonly title: string;
  /** As typed, so that it can be run again. */
  readonly command: string;
  readonly start: ImageStartEvent;
  readonly done: ImageDoneEvent;
  /** Steps, evaluations and samples, in order. */
  readonly history: readonly ImageTrainEvent[];
  /** The bytes of a sample's file. */
  picture(path: string): Uint8Array;
}

/** Columns of the samples' table; a longer one is thinned evenly. */
const MOST_SAMPLES = 8;

/** A complete HTML document that needs nothing beside it. */
export function imageTrainReport(input: ImageTrainReportInput): string {
  const { title, command, start, done, history } = input;
  const evals = history.filter((event) => event.event === "eval");
  const [before, after] = [evals[0]?.loss, evals.at(-1)?.loss];
  const held = before === undefined || after === undefined ? "" : ` Loss on held-out images: ${change(before, after)}.`;
  return page(
    title,
    html`<header>
<p class="kind">Training report</p>
<h1>${title}</h1>
<p class="lede">${plural(start.images, "image")}, ${plural(done.steps, "step")} in ${duration(done.seconds)}.${held}</p>
${keyFigures([
  ["trainable parameters", count(start.trainableParameters), `of ${count(start.totalParameters)}`],
  ["loss at the last step", decimal(done.loss), ""],
  ["images per second", decimal(done.imagesPerSecond), ""],
])}</header>
${section("Curves", curves(history))}${section("Samples", samples(input))}
${section("This run", factTable("What was trained", facts(input)))}${section("Command", commandBlock(command))}`,
  );
}

function curves(history: readonly ImageTrainEvent[]): Html | null {
  const steps = history.filter((event) => event.event === "step");
  if (steps.length === 0) return null;
  const points = (value: (step: (typeof steps)[number]) => number): Point[] =>
    steps.map((step) => ({ x: step.step, y: value(step) }));
  const evals = history.filter((event) => event.event === "eval");
  const heldOut: Series = {
    name: "held-out images",
    colour: 2,
    look: "marks",
    points: evals.map(({ step, loss }) => ({ x: step, y: loss })),
  };
  const x = { label: "step", integers: true } as const;
  const loss = lineChart({
    title: "Loss",
    x,
    y: { label: "mean squared error of the prediction" },
    series: [
      ...trainingSeries(
        "training images",
        1,
        points((step) => step.loss),
      ),
      ...(evals.length === 0 ? [] : [heldOut]),
    ],
  });
  const rates: Series[] = [
    { name: "learning rate", colour: 3, look: "line", points: points((step) => step.learningRate) },
  ];
  const norms = trainingSeries(
    "gradient norm",
    4,
    points((step) => step.gradNorm),
  );
  return html`${loss}<div class="halves">${[
    lineChart({ x, half: true, title: "Learning rate", y: { label: "factor on the update" }, series: rates }),
    lineChart({ x, half: true, title: "Gradient norm", y: { label: "L2, before clipping" }, series: norms }),
  ]}</div>\n`;
}

function samples({ history, picture }: ImageTrainReportInput): Html | null {
  const all = history.filter((event): event is ImageSampleEvent => event.event === "sample");
  if (all.length === 0) return null;
  const taken = [...new Set(all.map(({ step }) => step))];
  const every = Math.ceil(taken.length / MOST_SAMPLES);
  const steps = taken.filter((_, i) => i % every === 0 || i === taken.length - 1);
  const rows = [...new Set(all.map(({ prompt }) => prompt))].map((prompt) => ({
    label: shorten(prompt),
    pictures: steps.flatMap((step) => {
      const sample = all.find((each) => each.step === step && each.prompt === prompt);
      return sample ? [{ png: picture(sample.path), text: `${prompt}, step ${step}` }] : [];
    }),
  }));
  return pictureGrid(
    "The same prompts and noise while training",
    steps.map((step) => `step ${step}`),
    rows,
  );
}

function facts({ start, done }: ImageTrainReportInput): Fact[] {
  return [
    ["method", start.method],
    ["layers", start.targets.length],
    [
      "sizes",
      Object.entries(start.sizes)
        .map(([size, images]) => `${images} of ${size}`)
        .join(", "),
    ],
    ["threads", start.threads],
    ["memory at most", `${Math.round(done.peakMemoryBytes / 2 ** 20)} MiB`],
    ["files", done.files.join(", ")],
  ];
}
