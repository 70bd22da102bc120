/** The rank study against NumPy (make_study.py), and properties that hold whatever the numbers. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { amplification, largestDirections } from "../../src/study/amplification.ts";
import { decompose, rightVectors } from "../../src/study/factor.ts";
import { rankHolding, spectrumOf } from "../../src/study/spectrum.ts";
import { type Basis, expectedSimilarity, randomBasis, similarity } from "../../src/study/subspace.ts";

interface Case {
  readonly shape: readonly [number, number];
  readonly scaling: number;
  readonly W: readonly number[];
  readonly A: readonly number[];
  readonly B: readonly number[];
  readonly A2: readonly number[];
  readonly r: number;
  readonly r2: number;
  readonly directions: number;
  readonly phi: readonly (readonly number[])[];
  readonly singularValues: readonly number[];
  readonly effectiveRank: number;
  readonly stableRank: number;
  readonly weightNorm: number;
  readonly updateNorm: number;
  readonly inUpdate: number;
  readonly inWeight: number;
  readonly factor: number;
}

const cases = JSON.parse(readFileSync(new URL("study.json", import.meta.url), "utf8")) as readonly Case[];

function factors({ shape: [out, width], A, B, r, scaling }: Pick<Case, "shape" | "A" | "B" | "r" | "scaling">) {
  return { rank: r, in: width, out, A, B, scaling, embedding: false };
}

function basis({ shape: [, width] }: Case, A: readonly number[], r: number): Basis {
  return { vectors: rightVectors(factors({ shape: [1, width], A, B: [], r, scaling: 1 })), k: r, width };
}

test.each(cases.map((each) => [`${each.shape}`, each] as const))(
  "[%s]: spectrum, φ and amplification as NumPy's",
  (_name, each) => {
    const update = decompose(factors(each));
    const spectrum = spectrumOf(update.s);
    spectrum.singularValues.forEach((value, i) => {
      expect(value).toBeCloseTo(each.singularValues[i]!, 9);
    });
    expect(spectrum.effectiveRank).toBeCloseTo(each.effectiveRank, 9);
    expect(spectrum.stableRank).toBeCloseTo(each.stableRank, 9);
    const phi = similarity(basis(each, each.A, each.r), basis(each, each.A2, each.r2));
    each.phi.flat().forEach((value, i) => {
      expect(Math.abs(phi[i]! - value)).toBeLessThan(1e-9);
    });
    const W = Float32Array.from(each.W);
    const largest = largestDirections(W, each.shape, Math.min(...each.shape));
    const found = amplification(W, largest, each.shape, update, each.directions);
    for (const name of ["weightNorm", "updateNorm", "inUpdate", "inWeight", "factor"] as const) {
      expect(Math.abs(found[name] - each[name]) / each[name], name).toBeLessThan(1e-6);
    }
  },
);

test("φ of a space with itself is 1 on the diagonal and symmetric between two; it lies in [0, 1]", () => {
  const [a, b] = [randomBasis(5, 60, 1), randomBasis(8, 60, 2)];
  const own = similarity(a, a);
  for (let i = 0; i < 5; i++) for (let j = 0; j < 5; j++) expect(own[i * 5 + j]).toBeCloseTo(1, 12);
  const [there, back] = [similarity(a, b), similarity(b, a)];
  for (let i = 0; i < 5; i++) {
    for (let j = 0; j < 8; j++) {
      expect(there[i * 8 + j]).toBeCloseTo(back[j * 5 + i]!, 12);
      expect(there[i * 8 + j]).toBeGreaterThanOrEqual(0);
      expect(there[i * 8 + j]).toBeLessThanOrEqual(1);
    }
  }
});

test("random spaces have max(i, j) / d in common on the mean", () => {
  const sums = new Float64Array(12);
  const runs = 400;
  for (let seed = 0; seed < runs; seed++) {
    similarity(randomBasis(3, 30, seed), randomBasis(4, 30, 10_000 + seed)).forEach((value, i) => {
      sums[i]! += value / runs;
    });
  }
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 4; j++)
      expect(Math.abs(sums[i * 4 + j]! - expectedSimilarity(i + 1, j + 1, 30))).toBeLessThan(0.015);
});

test("ranks by energy: what is lost is what was asked for; nothing suggests nothing", () => {
  const s = Float64Array.of(3, 2, 1, 0);
  expect([0.5, 9 / 14, 13 / 14, 0.99, 1].map((share) => rankHolding(s, share))).toEqual([1, 1, 2, 3, 3]);
  expect(rankHolding(new Float64Array(3), 0.9)).toBe(0);
  expect(spectrumOf(Float64Array.of(2, 2, 2)).effectiveRank).toBeCloseTo(3, 12);
});
