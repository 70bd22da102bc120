/** Plans against counts that are known: the paper's tables, and models counted by hand. */

import { expect, test } from "vitest";
import { type Estimate, estimateTraining } from "../../src/estimate/estimate.ts";
import { planConfig, planTask } from "../../src/estimate/plan.ts";
import { sketchModel } from "../../src/estimate/sketch.ts";
import type { Task } from "../../src/task.ts";

interface Asked {
  readonly method?: string;
  readonly task?: Task;
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly length?: number;
  readonly batchSize?: number;
  readonly precision?: string;
  readonly recompute?: boolean;
}

function plan(
  name: string,
  { method = "lora", task, fields = {}, length = 16, batchSize = 1, precision = "fp32", recompute = false }: Asked = {},
): Estimate {
  const model = sketchModel(name);
  const settled = planTask(model, task ?? null);
  const config = planConfig(model, settled, method, fields);
  return estimateTraining({ model, task: settled, config, batchSize, length, precision, recompute });
}

test("GPT-3 175B: the paper's counts for q and v (tables 4 and 15, section 4.2)", () => {
  const on = (r: number): Estimate => plan("gpt3-175b", { fields: { r, lora_alpha: r, target_modules: ["q", "v"] } });
  expect(on(1).trainableParameters).toBe(2 * 96 * 2 * 12288); // 4.7 M
  expect(on(8).trainableParameters).toBe(37_748_736); // 37.7 M
  const four = on(4);
  expect(four.adapterBytes / 2 ** 20).toBeCloseTo(36, 0); // 35 MB in the paper
  expect(four.checkpointBytes / 1e9).toBeCloseTo(349.2, 0); // 350 GB in the paper
  expect(four.reduction).toBeGreaterThan(9000); // about 10 000 times
});

test.each([
  ["gpt2-medium", "causal-lm", { r: 4, target_modules: ["q", "v"] }, 393_216],
  ["gpt2-large", "causal-lm", { r: 4, target_modules: ["q", "v"] }, 737_280],
  ["roberta-base", "masked-lm", { r: 8 }, 294_912],
  ["roberta-large", "masked-lm", { r: 8 }, 786_432],
  ["deberta-v2-xxlarge", "masked-lm", { r: 16 }, 4_718_592],
  ["smollm2-135m", "causal-lm", { r: 8 }, 460_800],
] as const)("%s: LoRA on q and v has as many parameters as the reference", (name, task, fields, expected) => {
  expect(plan(name, { task, fields: { ...fields } }).trainableParameters).toBe(expected);
});

test.each([
  ["gpt2", "causal-lm", 124_439_808],
  ["gpt2-xl", "causal-lm", 1_557_611_200],
  ["smollm2-135m", "causal-lm", 134_515_008],
  ["llama-3.2-1b", "causal-lm", 1_235_814_400],
  ["mistral-7b", "causal-lm", 7_241_732_096],
] as const)("%s has its published number of parameters", (name, task, expected) => {
  expect(plan(name, { method: "full", task }).totalParameters).toBe(expected);
});

test("modules are told by pattern, and full fine-tuning trains everything", () => {
  const { modules, trainableParameters } = plan("gpt2");
  expect(modules).toEqual([{ modules: "transformer.h.*.attn.c_attn", count: 12, parameters: trainableParameters }]);
  const full = plan("gpt2", { method: "full" });
  expect(full).toMatchObject({ trainableParameters: 124_439_808, reduction: 1 });
  expect(full.memory.weights).toBe(0); // all of them are trained
  expect(full.memory.optimizer).toBe(16 * 124_439_808);
});

test("memory grows with the rows, and falls with eight bits and with recomputation", () => {
  const at = (asked: Asked): number => plan("gpt2", { batchSize: 4, length: 128, ...asked }).memory.total;
  expect(at({ length: 256 })).toBeGreaterThan(at({}));
  expect(at({ recompute: true })).toBeLessThan(at({}));
  expect(at({ precision: "int8" })).toBeLessThan(at({}));
});

test("names that are no model list the known sizes; tasks without a head are refused", () => {
  expect(() => sketchModel("gpt5")).toThrow(/gpt5.*Known sizes: gpt2, gpt2-medium/s);
  expect(() => plan("gpt2", { task: "masked-lm" })).toThrow(
    /--task masked-lm: gpt2 has no such head. It has causal-lm/,
  );
});
