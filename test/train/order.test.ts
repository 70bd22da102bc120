import { expect, test } from "vitest";
import { type OrderOptions, rowsOfStep, stepsPerEpoch } from "../../src/train/order.ts";

const options: OrderOptions = { rows: 23, batchSize: 3, gradAccum: 2, shuffle: true, seed: 5 };

function epoch(given: OrderOptions, number: number): number[] {
  const steps = stepsPerEpoch(given);
  return Array.from({ length: steps }, (_, i) => rowsOfStep(given, number * steps + i + 1)).flat();
}

test("an epoch takes every row once, its last short step too", () => {
  for (const number of [0, 1, 7]) {
    expect(epoch(options, number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 23 }, (_, i) => i));
  }
  expect(stepsPerEpoch(options)).toBe(4);
  expect(rowsOfStep(options, 4)).toHaveLength(5);
});

test("every epoch has an order of its own, the same for the same seed", () => {
  expect(epoch(options, 0)).not.toEqual(epoch(options, 1));
  expect(epoch(options, 1)).toEqual(epoch({ ...options }, 1));
  expect(epoch({ ...options, seed: 6 }, 0)).not.toEqual(epoch(options, 0));
});

test("without shuffling rows come in the file's order, epoch after epoch", () => {
  const plain = { ...options, shuffle: false };
  expect(rowsOfStep(plain, 1)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(rowsOfStep(plain, 4)).toEqual([18, 19, 20, 21, 22]);
  expect(rowsOfStep(plain, 5)).toEqual([0, 1, 2, 3, 4, 5]);
});

test("how a step is cut into passes changes no step's rows", () => {
  for (let step = 1; step <= 8; step++) {
    const whole = rowsOfStep({ ...options, batchSize: 6, gradAccum: 1 }, step);
    expect(rowsOfStep({ ...options, batchSize: 1, gradAccum: 6 }, step)).toEqual(whole);
    expect(rowsOfStep(options, step)).toEqual(whole);
  }
});
