import { expect, test } from "vitest";
import { batchFacts, openBase, settle } from "../../src/program/setup.ts";
import { planMemory } from "../../src/train/recompute.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";

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
    planMemory({ recompute, batchSize, tokensPerBatch: null }, program, examples, batchFacts(setup), memory).recompute;
  expect(decide("auto", 2, 1e9)).toBe(false);
  expect(decide("auto", 2, 1e5)).toBe(true);
  const between = 2.5e6; // takes one row's activations, not twelve rows'
  expect([decide("auto", 1, between), decide("auto", 12, between)]).toEqual([false, true]);
  expect([decide("full", 1, 1e12), decide("none", 12, 1)]).toEqual([true, false]);
  const tiny = planMemory(
    { recompute: "auto", batchSize: 12, tokensPerBatch: null },
    program,
    examples,
    batchFacts(setup),
    5e5,
  );
  expect(tiny).toMatchObject({ recompute: true, warning: expect.stringContaining("The longest 12 rows do not fit") });
  expect(tiny.tokensPerBatch).toBeLessThan(examples.reduce((sum, { ids }) => sum + ids.length, 0));
});
