/** Losses against PyTorch's, and the metrics of several labels against scikit-learn's (make_losses.py). */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { MEASURES } from "../../src/evaluate/metrics.ts";
import { input, type Value } from "../../src/graph/graph.ts";
import { scale } from "../../src/graph/ops/arithmetic.ts";
import { sumAll } from "../../src/graph/ops/broadcast.ts";
import { binaryCrossEntropy, crossEntropy } from "../../src/program/loss.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";

interface Reference {
  readonly scores: readonly number[];
  readonly loss: number;
  readonly gradient: readonly number[];
}
interface Several extends Reference {
  readonly labels: readonly (readonly number[])[];
  readonly accuracy: number;
  readonly microF1: number;
  readonly macroF1: number;
}

const { smoothed, several } = JSON.parse(readFileSync(new URL("losses.json", import.meta.url), "utf8")) as {
  readonly smoothed: Reference & { readonly labels: readonly number[] };
  readonly several: Several;
};

/** Mean loss over `rows` rows of scores and its gradient, as the runtime computes them. */
async function run(
  reference: Reference,
  rows: number,
  targets: Tensor,
  lossOf: (scores: Value, targets: Value) => Value,
) {
  const shape = [rows, reference.scores.length / rows];
  const scores = input("scores", "f32", shape, true);
  const loss = scale(sumAll(lossOf(scores, input("targets", targets.dtype, targets.shape))), 1 / rows);
  const [dy] = gradient(loss, [scores]);
  const session = await nodeRuntime.open(
    new Map([
      ["loss", loss],
      ["gradient", dy!],
    ]),
    { threads: 1 },
  );
  const fed = new Map<string, Tensor>([
    ["scores", floatTensor(shape, Float32Array.from(reference.scores))],
    ["targets", targets],
  ]);
  const outputs = await session.run(fed);
  const result = {
    loss: Number(outputs.get("loss")!.data[0]),
    gradient: Array.from(outputs.get("gradient")!.data, Number),
  };
  await session.close();
  return result;
}

function expectSame(got: Awaited<ReturnType<typeof run>>, wanted: Reference): void {
  expect(got.loss).toBeCloseTo(wanted.loss, 5);
  wanted.gradient.forEach((value, i) => {
    expect(got.gradient[i]).toBeCloseTo(value, 6);
  });
}

test("cross-entropy with label smoothing is PyTorch's, its gradient too", async () => {
  const labels: Tensor = { dtype: "i32", shape: [5], data: Int32Array.from(smoothed.labels) };
  expectSame(await run(smoothed, 5, labels, (scores, targets) => crossEntropy(scores, targets, 0.15)), smoothed);
});

test("binary cross-entropy over several labels is PyTorch's, its gradient too", async () => {
  const labels = floatTensor([6, 4], Float32Array.from(several.labels.flat()));
  expectSame(await run(several, 6, labels, binaryCrossEntropy), several);
});

test("several labels: loss, accuracy and F1", () => {
  const measure = MEASURES["multi-label-classification"]!();
  several.labels.forEach((label, row) => {
    const scores = Float32Array.from(several.scores.slice(4 * row, 4 * row + 4));
    measure.add({ ids: Int32Array.of(1), label, line: row + 1 }, { scores, count: 1, classes: 4 });
  });
  const { lossSum, targets, metrics } = measure.result();
  expect(lossSum / targets).toBeCloseTo(several.loss, 6);
  for (const name of ["accuracy", "microF1", "macroF1"] as const) expect(metrics[name]).toBeCloseTo(several[name], 12);
});
