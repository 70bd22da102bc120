import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { benchGenerate, benchSwitch } from "../../src/bench/generate.ts";
import { benchInference } from "../../src/bench/inference.ts";
import { benchMerge } from "../../src/bench/merge.ts";
import { groupOf, productOperations } from "../../src/bench/profile.ts";
import { ratioInterval, spreadOf } from "../../src/bench/spread.ts";
import { benchTrain } from "../../src/bench/train.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

const model = join(caseFolder("gpt2-c_attn"), "model");
const adapter = join(caseFolder("gpt2-c_attn"), "adapter");

test("a spread is median and range", () => {
  expect(spreadOf([5, 1, 2])).toEqual({ median: 2, least: 1, most: 5 });
  expect(spreadOf([4, 1, 2, 3]).median).toBe(2.5);
  expect(() => spreadOf([])).toThrow(RangeError);
});

test("a ratio of pairs: median, and the sign test's interval", () => {
  const ones = Array.from({ length: 15 }, () => 1);
  const values = ones.map((_, i) => 1 + ((7 * i) % 15)); // 1 to 15 in some order
  // P(binomial(15, 1/2) <= 3) = 0.0176, P(<= 4) = 0.059: the 4th and the 12th smallest.
  expect(ratioInterval(values, ones)).toEqual({ ratio: 8, from: 4, to: 12 });
  expect(ratioInterval([2, 6, 4], [2, 2, 2])).toEqual({ ratio: 2, from: 1, to: 3 });
  expect(ratioInterval([5], [2])).toEqual({ ratio: 2.5, from: 2.5, to: 2.5 });
  expect(() => ratioInterval([], [])).toThrow(RangeError);
});

test("operators are told apart by type and extents", () => {
  const extents = { vocabulary: 5000, rank: 8 };
  const group = (type: string, ...shapes: number[][]) =>
    groupOf({ type, milliseconds: 1, inputs: shapes.slice(0, -1), outputs: shapes.slice(-1) }, extents);
  expect(group("MatMul", [32, 64], [64, 256], [32, 256])).toBe("frozen linears");
  expect(group("FusedMatMul", [32, 64], [8, 64], [32, 8])).toBe("low-rank products");
  expect(group("MatMul", [2, 4, 16, 16], [2, 4, 16, 8], [2, 4, 16, 8])).toBe("attention products");
  expect(group("MatMul", [32, 64], [64, 5000], [32, 5000])).toBe("head");
  expect(group("Softmax", [32, 5000], [32, 5000])).toBe("head");
  expect(group("QuantizeLinear", [32, 64], [32], [32, 64])).toBe("quantising");
  expect(group("Transpose", [2, 16, 4, 8], [2, 4, 16, 8])).toBe("moving");
  expect(group("Gelu", [32, 256], [32, 256])).toBe("element-wise, norms, softmax");
});

test("operations of a product, transposed or in batches", () => {
  const count = (a: number[], b: number[], y: number[]) =>
    productOperations({ type: "MatMul", milliseconds: 1, inputs: [a, b], outputs: [y] });
  expect(count([5, 7], [7, 11], [5, 11])).toBeCloseTo(2 * 5 * 7 * 11);
  expect(count([5, 7], [11, 7], [5, 11])).toBeCloseTo(2 * 5 * 7 * 11);
  const packed = { type: "MatMulIntegerToFloat", milliseconds: 1, inputs: [[5, 7], [], [11]], outputs: [[5, 11]] };
  expect(productOperations(packed)).toBe(2 * 5 * 7 * 11);
  expect(count([2, 3, 5, 7], [2, 3, 7, 11], [2, 3, 5, 11])).toBeCloseTo(2 * 6 * 5 * 7 * 11);
});

test("bench train: speed of random rows, and a profile whose shares add up", async () => {
  const adapterFields = { target_modules: ["c_attn"], r: 4 };
  const result = await benchTrain({ model, tokens: 16, steps: 2, profile: true, adapterFields }, nodeRuntime);
  expect(result.tokensPerSecond.median).toBeGreaterThan(0);
  expect(result.stepMs.least).toBeLessThanOrEqual(result.stepMs.most);
  const { groups, peak } = result.profile!;
  expect(groups.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
  for (const { group, milliseconds } of groups) {
    if (group !== "quantising") expect(milliseconds, group).toBeGreaterThan(0);
  }
  expect(Math.min(peak.fp32, peak.int8)).toBeGreaterThan(0);
  await expect(benchTrain({ model, tokens: 9999 }, nodeRuntime)).rejects.toThrow(/positions/);
});

test("bench merge: time and what merging changed", async () => {
  const result = await benchMerge({ model, adapters: [adapter], repeats: 1 }, nodeRuntime);
  expect(result.seconds.median).toBeGreaterThan(0);
  expect(result.maxAbsDiff).toBeLessThan(1e-4);
});

test("bench inference: base, base + adapter and merged over the same rows", async () => {
  const { base, unmerged, merged, mergedOverBase } = await benchInference(
    { model, adapters: [adapter], repeats: 6 },
    nodeRuntime,
  );
  for (const spread of [base, unmerged, merged]) expect(spread!.least).toBeGreaterThan(0);
  expect(mergedOverBase!.from).toBeLessThanOrEqual(mergedOverBase!.ratio);
  expect(mergedOverBase!.ratio).toBeLessThanOrEqual(mergedOverBase!.to);
});

test("bench inference: what cannot be merged, and a base without the task's head, are left out", async () => {
  const prompt = join(caseFolder("llama-prompt-tuning"), "model");
  const tuned = await benchInference(
    { model: prompt, adapters: [join(prompt, "../adapter")], repeats: 2 },
    nodeRuntime,
  );
  expect(tuned.merged).toBeNull();
  expect(tuned.base).not.toBeNull();
});

test("bench generate and switch measure every request", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-bench-test-"));
  const data = join(folder, "rows.jsonl");
  const out = join(folder, "adapter");
  writeFileSync(data, `${JSON.stringify({ text: "The ship came in." })}\n`);
  const options = { model: "embedded:gpt2-tiny", maxTokens: 4, repeats: 2 };
  for await (const _ of trainHere({ model: options.model, data, out, maxSteps: 1 }, { runtime: nodeRuntime }));
  try {
    const result = await benchGenerate({ ...options, adapters: [out] }, nodeRuntime);
    expect(result.completionTokens).toBe(4);
    expect(result.firstTokenMs.least).toBeGreaterThan(0);
    const { sameMs, switchedMs } = await benchSwitch({ ...options, adapters: [out] }, nodeRuntime);
    expect(Math.min(sameMs.least, switchedMs.least)).toBeGreaterThan(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
