import { expect, test } from "vitest";
import { chooseStreams, NO_VIRTUAL, type Packing, place } from "../../src/program/layout.ts";
import { passesOf } from "../../src/train/passes.ts";

const cost = { attention: 0.01, head: 1 };
const lengths = [90, 3, 120, 5, 7, 88, 4, 6];
const rows = lengths.map((_, i) => i);
const lengthsOf = (row: number): number[] => [lengths[row]!];

test("rows of like length share a pass where that costs less, and each row is in one", () => {
  const plan = (packing: Packing): number[][] =>
    passesOf(rows, lengthsOf, { batchSize: 3, tokensPerBatch: null, cost: { ...cost, packing } });
  const padded = [
    [0, 2, 5],
    [3, 4, 7],
    [1, 6],
  ];
  expect(plan("off")).toEqual(padded);
  // Short rows fill the streams of long ones: nothing is gained by parting them.
  expect(plan("auto")).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ]);
  expect(passesOf(rows, lengthsOf, { batchSize: 8, tokensPerBatch: null, cost })).toEqual([rows]);
});

test("a budget of tokens holds for every pass but that of a longer row", () => {
  const passes = passesOf(rows, lengthsOf, { batchSize: 1, tokensPerBatch: 112, cost });
  expect(passes.flat().toSorted((a, b) => a - b)).toEqual(rows);
  expect(passes[0]).toEqual([2]);
  for (const pass of passes.slice(1)) {
    const { B, T } = chooseStreams(pass.flatMap(lengthsOf), cost);
    expect(B * T).toBeLessThanOrEqual(112);
  }
  expect(passes).toHaveLength(4);
});

test("a row of two answers takes both into its pass", () => {
  const pairs = passesOf(rows, (row) => [lengths[row]!, 100], { batchSize: 1, tokensPerBatch: 200, cost });
  expect(pairs.every((pass) => pass.length === 1)).toBe(true);
});

test("streams are as long as need attention in parts only where a row alone is", () => {
  const cheap = { attention: 1e-9, head: 1 };
  expect(chooseStreams([250, 260, 260], cheap)).toEqual({ B: 3, T: 288 });
  expect(chooseStreams([600, 260, 260], cheap)).toEqual({ B: 1, T: 1152 });
});

test.each<[Packing, { B: number; T: number }, number]>([
  ["off", { B: 8, T: 128 }, 8],
  ["on", { B: 1, T: 352 }, 1],
  ["auto", { B: 3, T: 128 }, 3],
])("packing %s: %j", (packing, streams, used) => {
  expect(chooseStreams(lengths, { attention: 0.01, head: 1, packing })).toEqual(streams);
  const tokens = lengths.map((length) => ({ ids: new Int32Array(length).fill(1) }));
  const { layout, places } = place(tokens, streams, NO_VIRTUAL);
  expect(new Set(places.map(({ start }) => Math.floor(start / streams.T))).size).toBe(used);
  expect(layout.segments.filter((row) => row !== -1)).toHaveLength(lengths.reduce((a, b) => a + b, 0));
});
