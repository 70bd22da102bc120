import { expect, test } from "vitest";
import { passes } from "../../src/evaluate/evaluate.ts";
import { MEASURES, pearson, ranks } from "../../src/evaluate/metrics.ts";

test("accuracy and loss of labelled rows", () => {
  const measure = MEASURES["sequence-classification"]!();
  const row = (label: number, ...scores: number[]): void =>
    measure.add({ ids: Int32Array.of(1), label, line: 1 }, { scores: Float32Array.from(scores), count: 1, classes: 2 });
  row(0, 2, 1);
  row(1, 2, 1);
  const { lossSum, targets, metrics } = measure.result();
  expect(metrics).toEqual({ accuracy: 0.5 });
  expect(lossSum / targets).toBeCloseTo((Math.log1p(Math.exp(-1)) + Math.log1p(Math.exp(1))) / 2, 12);
});

test("token accuracy counts labelled tokens alone", () => {
  const measure = MEASURES["token-classification"]!();
  const scores = Float32Array.of(1, 0, 0, 1, 1, 0);
  measure.add(
    { ids: Int32Array.of(1, 2, 3), labels: Int32Array.of(0, -100, 1), line: 1 },
    { scores, count: 3, classes: 2 },
  );
  expect(measure.result()).toMatchObject({ targets: 2, metrics: { accuracy: 0.5 } });
});

test("regression: squared error, and correlations of values and of ranks", () => {
  const measure = MEASURES.regression!();
  for (const [label, score] of [
    [1, 1.5],
    [2, 1.9],
    [3, 9],
  ] as const) {
    measure.add({ ids: Int32Array.of(1), label, line: 1 }, { scores: Float32Array.of(score), count: 1, classes: 1 });
  }
  const { metrics } = measure.result();
  expect(metrics["mse"]).toBeCloseTo((0.25 + 0.01 + 36) / 3, 5);
  expect(metrics["spearman"]).toBeCloseTo(1, 12);
  expect(metrics["pearson"]).toBeCloseTo(7.5 / Math.sqrt(2 * 35.60667), 5);
});

test("equal values share their mean rank; a constant side has no correlation", () => {
  expect(ranks([3, 1, 3, 2])).toEqual([3.5, 1, 3.5, 2]);
  expect(pearson([1, 2], [5, 5])).toBeNaN();
});

test("passes hold every row once", () => {
  const examples = Array.from({ length: 40 }, (_, i) => ({ ids: new Int32Array(1 + ((i * 37) % 90)), line: i + 1 }));
  const all = passes(examples);
  expect(
    all
      .flat()
      .map(({ line }) => line)
      .toSorted((a, b) => a - b),
  ).toEqual(examples.map(({ line }) => line));
  expect(all.length).toBeGreaterThan(1);
});
