import { expect, test } from "vitest";
import { batchFacts, openBase, settle } from "../../src/program/setup.ts";
import { planMemory } from "../../src/train/recompute.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";

const OPTIONS = { recompute: "auto", tokensPerBatch: null, method: null, device: "cpu" } as const;

test("--recompute auto follows the largest batch and the memory there is; full and none are obeyed", () => {
  const { model, task, adapter, rows } = openCase("gpt2-c_attn");
  const setup = settle(openBase(`${caseFolder("gpt2-c_attn")}/model`), task);
  const program = { model, task, adapters: [{ method: adapter.method, prefix: "", weight: 1 }] };
  const examples = rows.map(({ input_ids, labels }, i) => ({
    ids: Int32Array.from(input_ids),
    labels: Int32Array.from(labels!),
    line: i + 1,
  }));
  const decide = (recompute: "auto" | "none" | "full", batchSize: number, memory: number): boolean =>
    planMemory({ ...OPTIONS, recompute, batchSize }, program, examples, batchFacts(setup), memory).recompute;
  expect(decide("auto", 2, 1e9)).toBe(false);
  expect(decide("auto", 2, 1e5)).toBe(true);
  const between = 2.5e6; // takes one row's activations, not twelve rows'
  expect([decide("auto", 1, between), decide("auto", 12, between)]).toEqual([false, true]);
  expect([decide("full", 1, 1e12), decide("none", 12, 1)]).toEqual([true, false]);
  const tiny = planMemory({ ...OPTIONS, batchSize: 12 }, program, examples, batchFacts(setup), 5e5);
  expect(tiny).toMatchObject({ recompute: true, warning: expect.stringContaining("The longest 12 rows do not fit") });
  expect(tiny.tokensPerBatch).toBeLessThan(examples.reduce((sum, { ids }) => sum + ids.length, 0));
});

test("a batch that outgrows the caches is cut into passes; as asked where a number is given", () => {
  const { model, task, adapter } = openCase("gpt2-c_attn");
  const facts = batchFacts(settle(openBase(`${caseFolder("gpt2-c_attn")}/model`), task));
  const wide = { ...model, config: { ...model.config, hiddenSize: 768 } };
  const program = { model: wide, task, adapters: [{ method: adapter.method, prefix: "", weight: 1 }] };
  const ids = Int32Array.from({ length: 32 }, (_, i) => i);
  const examples = Array.from({ length: 20 }, (_, i) => ({ ids, labels: ids, line: i + 1 }));
  const places = (more: object): number | null =>
    planMemory({ ...OPTIONS, recompute: "none", batchSize: 20, ...more }, program, examples, facts).tokensPerBatch;
  expect(places({})).toBe(512);
  expect(places({ batchSize: 16 })).toBe(null);
  expect(places({ tokensPerBatch: 64 })).toBe(64);
  expect(places({ method: "full" })).toBe(null);
  expect(places({ device: "webgpu" })).toBe(null);
});
