import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { pearson, ranks } from "../../src/evaluate/correlation.ts";
import { passes } from "../../src/evaluate/evaluate.ts";
import { MEASURES } from "../../src/evaluate/metrics.ts";
import type { RowScores } from "../../src/evaluate/scores.ts";

test("accuracy and loss of labelled rows", () => {
  const measure = MEASURES["sequence-classification"]!();
  const row = (label: number, ...scores: number[]): void =>
    measure.add({ ids: Int32Array.of(1), label, line: 1 }, { scores: Float32Array.from(scores), count: 1, classes: 2 });
  row(0, 2, 1);
  row(1, 2, 1);
  const { lossSum, targets, metrics } = measure.result();
  expect(metrics).toMatchObject({ accuracy: 0.5 });
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

interface Labelled {
  readonly labels: readonly number[];
  readonly found: readonly number[];
}

/** Made by make_metrics.py. */
const reference = JSON.parse(readFileSync(new URL("metrics.json", import.meta.url), "utf8")) as Readonly<
  Record<"binary" | "multiclass" | "constant", Labelled & Record<string, number>>
> & {
  readonly regression: { readonly values: readonly number[]; readonly scores: readonly number[] } & Record<
    string,
    number
  >;
  readonly entities: { readonly names: readonly string[]; readonly sentences: readonly Labelled[] } & Record<
    string,
    number
  >;
};

/** Scores that name these classes. */
function scoresOf(found: readonly number[], classes: number): RowScores {
  const scores = new Float32Array(found.length * classes);
  found.forEach((best, i) => {
    scores[i * classes + best] = 1;
  });
  return { scores, count: found.length, classes };
}

test.each(["binary", "multiclass", "constant"] as const)("%s: accuracy, F1 and Matthews are scikit-learn's", (name) => {
  const wanted = reference[name];
  const measure = MEASURES["sequence-classification"]!();
  wanted.labels.forEach((label, i) => {
    measure.add({ ids: Int32Array.of(1), label, line: i + 1 }, scoresOf([wanted.found[i]!], 5));
  });
  const { metrics } = measure.result();
  expect(metrics["accuracy"]).toBeCloseTo(wanted["accuracy"]!, 12);
  expect(metrics["macroF1"]).toBeCloseTo(wanted["macro_f1"]!, 12);
  expect(metrics["matthews"]).toBeCloseTo(wanted["matthews_correlation"]!, 12);
  if (name !== "multiclass") expect(metrics["f1"]).toBeCloseTo(wanted["f1"]!, 12);
  else expect(metrics["f1"]).toBeUndefined();
});

test("regression: mean squared error and both correlations are scikit-learn's and scipy's", () => {
  const { values, scores, mse, pearson, spearman } = reference.regression;
  const measure = MEASURES.regression!();
  values.forEach((label, i) => {
    measure.add(
      { ids: Int32Array.of(1), label, line: i + 1 },
      { scores: Float32Array.of(scores[i]!), count: 1, classes: 1 },
    );
  });
  const { metrics } = measure.result();
  expect(metrics["mse"]).toBeCloseTo(mse!, 5);
  expect(metrics["pearson"]).toBeCloseTo(pearson!, 6);
  expect(metrics["spearman"]).toBeCloseTo(spearman!, 12);
});

test("entities: precision, recall and F1 by conlleval's rules; unlabelled tokens are passed over", () => {
  const { names, sentences, ...wanted } = reference.entities;
  const measure = MEASURES["token-classification"]!(names);
  for (const { labels, found } of sentences) {
    measure.add(
      { ids: new Int32Array(labels.length + 1), labels: Int32Array.of(-100, ...labels), line: 1 },
      scoresOf([1, ...found], names.length),
    );
  }
  const { metrics } = measure.result();
  expect(metrics["accuracy"]).toBeCloseTo(wanted["accuracy"]!, 12);
  expect(metrics["entityPrecision"]).toBeCloseTo(wanted["entity_precision"]!, 12);
  expect(metrics["entityRecall"]).toBeCloseTo(wanted["entity_recall"]!, 12);
  expect(metrics["entityF1"]).toBeCloseTo(wanted["entity_f1"]!, 12);
});
