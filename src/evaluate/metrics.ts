/** Loss and metrics of tasks that label rows or tokens, from scores and labels: float64, one pass. */

import { type Example, IGNORED } from "../data/example.ts";
import type { Task } from "../task.ts";
import type { RowScores } from "./scores.ts";

export interface Measured {
  /** Sum over targets; the mean is the loss. */
  readonly lossSum: number;
  readonly targets: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Gathers rows one after another, then tells. */
export interface Measure {
  add(example: Example, scores: RowScores): void;
  result(): Measured;
}

/** By task; language models have no entry, their loss says all. */
export const MEASURES: Partial<Readonly<Record<Task, () => Measure>>> = {
  "sequence-classification": classification,
  "token-classification": classification,
  regression,
};

/** Accuracy over labelled rows, or over labelled tokens. */
function classification(): Measure {
  let [lossSum, targets, right] = [0, 0, 0];
  const count = ({ scores, classes }: RowScores, at: number, label: number): void => {
    const row = scores.subarray(at * classes, (at + 1) * classes);
    const best = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    lossSum += logSumExp(row) - row[label]!;
    targets++;
    if (best === label) right++;
  };
  return {
    add: ({ label, labels }, scores) => {
      if (scores.count === 1 && label !== undefined) count(scores, 0, Number(label));
      else
        labels?.forEach((each, i) => {
          if (each !== IGNORED) count(scores, i, each);
        });
    },
    result: () => ({ lossSum, targets, metrics: { accuracy: right / targets } }),
  };
}

/** Mean squared error; for one value a row, how well predictions follow the values. */
function regression(): Measure {
  const predicted: number[] = [];
  const wanted: number[] = [];
  let [lossSum, targets, width] = [0, 0, 1];
  return {
    add: ({ label = 0 }, { scores }) => {
      const values = [label].flat();
      width = values.length;
      values.forEach((value, i) => {
        lossSum += (scores[i]! - value) ** 2 / width;
        predicted.push(scores[i]!);
        wanted.push(value);
      });
      targets++;
    },
    result: () => ({
      lossSum,
      targets,
      metrics: {
        mse: lossSum / targets,
        ...(width === 1
          ? { pearson: pearson(predicted, wanted), spearman: pearson(ranks(predicted), ranks(wanted)) }
          : {}),
      },
    }),
  };
}

function logSumExp(values: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) largest = Math.max(largest, value);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  return largest + Math.log(sum);
}

/** Pearson's correlation; NaN when either side does not vary. */
export function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [both, onlyA, onlyB] = [0, 0, 0];
  a.forEach((value, i) => {
    const [da, db] = [value - meanA, b[i]! - meanB];
    both += da * db;
    onlyA += da * da;
    onlyB += db * db;
  });
  return both / Math.sqrt(onlyA * onlyB);
}

/** Ranks from 1; equal values share the mean of theirs. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).toSorted((a, b) => values[a]! - values[b]!);
  const out = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let i = from; i < to; i++) out[order[i]!] = (from + 1 + to) / 2;
    from = to;
  }
  return out;
}
