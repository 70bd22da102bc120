/** Comparison of tensors that names the worst element. */

import { expect } from "vitest";

/**
 * Expects |actual - expected| ≤ tolerance · (|expected| + largest |expected|) everywhere, or the absolute `floor`
 * where that is larger.
 */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  name: string,
  floor = 0,
): void {
  expect(actual.length, `${name}: number of elements`).toBe(expected.length);
  const finite = Array.from(expected, Math.abs).filter(Number.isFinite);
  const largest = Math.max(0, ...finite);
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i]!, expected[i]!];
    const close = Object.is(a, e) || Math.abs(a - e) <= Math.max(floor, tolerance * (Math.abs(e) + largest));
    if (!close)
      expect.fail(`${name}: element ${i} is ${a}, expected ${e} (largest ${largest}, tolerance ${tolerance})`);
  }
}
