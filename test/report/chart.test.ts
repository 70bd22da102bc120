import { expect, test } from "vitest";
import { scaleOf, ticksOf } from "../../src/report/axis.ts";
import { type LineChart, lineChart, type Series } from "../../src/report/chart.ts";
import { page } from "../../src/report/html.ts";
import { type Point, smooth, thin } from "../../src/report/points.ts";
import { nestingErrors, textOf } from "./nesting.ts";

function drawn(points: readonly Point[], options: Partial<LineChart> = {}): string {
  const series: Series = { name: "training", colour: 1, look: "line", points };
  const chart = {
    title: "Loss",
    x: { label: "step", integers: true },
    y: { label: "nats" },
    series: [series],
    half: true,
  };
  const document = page("chart", lineChart({ ...chart, ...options }));
  expect(nestingErrors(document)).toEqual([]);
  expect(document).not.toMatch(/NaN[,"]|Infinity|undefined/);
  return document;
}

const ramp = (length: number): Point[] => Array.from({ length }, (_, x) => ({ x, y: x }));

test("a single point is drawn as a sign in the middle, with ticks around it", () => {
  const document = drawn([{ x: 7, y: 3 }]);
  expect(document.match(/class="mark"/g)).toHaveLength(1);
  expect(textOf(document)).toContain("6 7 8");
});

test("charts without a drawable value still stand", () => {
  for (const points of [[], [{ x: 1, y: Number.NaN }], [{ x: Number.NaN, y: 1 }]]) {
    expect(drawn(points)).toContain("no values");
    expect(drawn(points, { y: { label: "nats", scale: "log" }, x: { label: "step", scale: "log" } })).toContain(
      "no values",
    );
  }
});

test("values that are not finite part the line and are counted", () => {
  const gap = [Number.NaN, Number.POSITIVE_INFINITY];
  const document = drawn([1, 2, ...gap, 3, 4].map((y, x) => ({ x, y })));
  expect(document).toContain("2 values not finite, left as gaps");
  expect(/class="line" d="([^"]*)"/.exec(document)?.[1]?.match(/M/g)).toHaveLength(2);
});

test("a log axis leaves out what is not positive and says so", () => {
  const document = drawn(
    [0, 1, 1000].map((y, x) => ({ x, y })),
    { y: { label: "norm", scale: "log" } },
  );
  expect(document).toContain("1 value not finite or not positive, left as gaps");
  expect(textOf(document)).toMatch(/\b1 10 100 1000 /);
});

test("thousands of points are thinned to the picture, with spikes and gaps kept", () => {
  const points = ramp(50_000).map(({ x }) => ({ x, y: x === 31_234 ? 900 : x === 8_000 ? Number.NaN : Math.sin(x) }));
  const kept = thin(points, 200, (x) => x / 49_999);
  expect(kept.length).toBeLessThan(620);
  expect(kept).toContainEqual({ x: 31_234, y: 900 });
  expect(kept.some(({ x }) => x === 8_000)).toBe(true);
  expect([kept[0]?.x, kept.at(-1)?.x]).toEqual([0, 49_999]);
  expect(kept.every(({ x }, i) => i === 0 || x > kept[i - 1]!.x)).toBe(true);
  expect(drawn(points).length).toBeLessThan(25_000);
});

test("short curves are not thinned", () => {
  expect(thin(ramp(400), 200, (x) => x / 399)).toHaveLength(400);
});

test("smoothing averages over neighbours, passes over gaps, and takes logarithms on a log scale", () => {
  expect(smooth(ramp(5), 1).map(({ y }) => y)).toEqual([0.5, 1, 2, 3, 3.5]);
  const gap = [1, Number.NaN, 3].map((y, x) => ({ x, y }));
  expect(smooth(gap, 2).map(({ y }) => y)).toEqual([2, Number.NaN, 2]);
  const spike = [1, 1, 1000].map((y, x) => ({ x, y }));
  expect(smooth(spike, 2, "log").every(({ y }) => Math.abs(y - 10) < 1e-9)).toBe(true);
});

test("several colours get a legend; one needs none", () => {
  const series: Series[] = [
    { name: "training", colour: 1, look: "line", points: ramp(3) },
    { name: "held-out <rows>", colour: 2, look: "marks", points: ramp(3) },
  ];
  expect(drawn([], { series })).toContain("held-out &#60;rows&#62;</li>");
  expect(drawn(ramp(3))).not.toContain('class="legend"');
});

test.each<[number[], string[]]>([
  [
    [0, 1.7],
    ["0", "0.5", "1.0", "1.5"],
  ],
  [
    [0, 2e-4],
    ["0", "5e−5", "1e−4", "1.5e−4", "2e−4"],
  ],
  [
    [0, 20_000],
    ["0", "5k", "10k", "15k", "20k"],
  ],
  [
    [-1, 1],
    ["−1.0", "−0.5", "0", "0.5", "1.0"],
  ],
  [
    [1e20, 3e20],
    ["1e20", "1.5e20", "2e20", "2.5e20", "3e20"],
  ],
])("ticks over %j are labelled %j", (values, labels) => {
  const axis = { label: "" };
  expect(ticksOf(axis, scaleOf(axis, values), 4).map(({ label }) => label)).toEqual(labels);
});
