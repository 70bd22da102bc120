import { expect, test } from "vitest";
import { fromBfloat, fromHalf, toBfloat, toHalf } from "../../src/tensor/half.ts";

const PATTERNS = Array.from({ length: 65536 }, (_, pattern) => pattern);

test("every half and every bfloat16 comes back from float32", () => {
  for (const [to, from] of [
    [toHalf, fromHalf],
    [toBfloat, fromBfloat],
  ] as const) {
    const wrong = PATTERNS.filter((pattern) => {
      const value = from(pattern);
      return Number.isNaN(value) ? !Number.isNaN(from(to(value))) : to(value) !== pattern;
    });
    expect(wrong).toEqual([]);
  }
});

test("halves round to nearest, ties to even, and overflow to infinity", () => {
  expect(toHalf(1 + 2 ** -11)).toBe(0x3c00); // halfway between 1 and the next: even
  expect(toHalf(1 + 3 * 2 ** -11)).toBe(0x3c02);
  expect(toHalf(65504)).toBe(0x7bff);
  expect(toHalf(65520)).toBe(0x7c00);
  expect(toHalf(2 ** -24)).toBe(1);
  expect(toHalf(2 ** -25)).toBe(0);
  expect(toHalf(-0)).toBe(0x8000);
});

test("bfloat16 rounds to nearest, ties to even, and carries into the exponent", () => {
  expect(toBfloat(1 + 2 ** -8)).toBe(0x3f80);
  expect(toBfloat(1 + 3 * 2 ** -8)).toBe(0x3f82);
  expect(toBfloat(3.4028234663852886e38)).toBe(0x7f80);
});
