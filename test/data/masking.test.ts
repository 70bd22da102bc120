/** Targets of masked language models: their shares, what is never one, and that a draw is all they depend on. */

import { expect, test } from "vitest";
import { type Example, IGNORED } from "../../src/data/example.ts";
import { type Masking, masked, maskedHeldOut, maskedStep } from "../../src/data/masking.ts";

const MASK = 99;
const SPECIAL = new Set([0, 1, 2, MASK]);
const masking: Masking = { probability: 0.15, maskId: MASK, specialIds: SPECIAL, vocabularySize: 100 };

function row(length: number, line = 1): Example {
  return { ids: Int32Array.from([0, ...Array.from({ length }, (_, i) => 3 + (i % 90)), 2]), line };
}

test("15 % of the ordinary tokens are targets: 80 % hidden, 10 % another token, 10 % as they were", () => {
  const given = row(40_000);
  const { ids, labels } = masked(given, masking, 7);
  const counts = { target: 0, hidden: 0, kept: 0, other: 0 };
  labels!.forEach((label, i) => {
    if (label === IGNORED) {
      expect(ids[i]).toBe(given.ids[i]);
      return;
    }
    expect(label).toBe(given.ids[i]);
    expect(SPECIAL.has(label)).toBe(false);
    counts.target++;
    if (ids[i] === MASK) counts.hidden++;
    else if (ids[i] === label) counts.kept++;
    else counts.other++;
  });
  expect(counts.target / 40_000).toBeCloseTo(0.15, 2);
  expect(Math.abs(counts.hidden / counts.target - 0.8)).toBeLessThan(0.02);
  expect(Math.abs(counts.kept / counts.target - 0.1)).toBeLessThan(0.02);
  expect(Math.abs(counts.other / counts.target - 0.1)).toBeLessThan(0.02);
});

test("every row has a target, be it one word long", () => {
  for (let draw = 0; draw < 100; draw++) {
    const { labels } = masked(row(1), masking, draw);
    expect([...labels!]).toEqual([IGNORED, 3, IGNORED]);
  }
});

test("a step's draw changes the targets, the same draw repeats them; held-out rows go by their line", () => {
  const rows = [row(50, 1), row(50, 2)];
  const step = (draw: number): number[][] => maskedStep(rows, masking, draw).map(({ labels }) => [...labels!]);
  expect(step(3)).toEqual(step(3));
  expect(step(3)).not.toEqual(step(4));
  expect(step(3)[0]).not.toEqual(step(3)[1]);
  const held = maskedHeldOut(rows, masking);
  expect(maskedHeldOut([rows[1]!], masking)[0]!.labels).toEqual(held[1]!.labels);
});
