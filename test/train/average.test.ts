import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { averageStep, exchange, startAverage } from "../../src/train/average.ts";

interface Expected {
  readonly decay: number;
  readonly start: readonly number[];
  readonly steps: readonly { readonly values: readonly number[]; readonly average: readonly number[] }[];
}

const { decay, start, steps }: Expected = JSON.parse(readFileSync(join(import.meta.dirname, "average.json"), "utf8"));

test("a running average is that of diffusers' EMAModel at every step", () => {
  const tensor = floatTensor([start.length], Float32Array.from(start));
  const parameters = new Map([["w", tensor]]);
  const average = startAverage(parameters);
  steps.forEach(({ values, average: theirs }, i) => {
    tensor.data.set(values);
    averageStep(average, parameters, { step: i + 1, decay });
    theirs.forEach((value, k) => {
      expect(Math.abs(average.get("w")![k]! - value)).toBeLessThan(1e-6);
    });
  });
});

test("exchanged twice, all is as it was", () => {
  const tensor = floatTensor([2], Float32Array.of(1, 2));
  const average = startAverage(new Map([["w", floatTensor([2], Float32Array.of(3, 4))]]));
  const parameters = new Map([["w", tensor]]);
  exchange(average, parameters);
  expect([[...tensor.data], [...average.get("w")!]]).toEqual([
    [3, 4],
    [1, 2],
  ]);
  exchange(average, parameters);
  expect([[...tensor.data], [...average.get("w")!]]).toEqual([
    [1, 2],
    [3, 4],
  ]);
});
