import { expect, test } from "vitest";
import { topological } from "../../src/graph/graph.ts";
import { trainProgram } from "../../src/program/program.ts";
import { computeGradients, openCase } from "../goldens/harness.ts";

const CASES = [
  "gpt2-all-linear-rslora",
  "llama-untied-patterns",
  "gemma3",
  "llama-embedding-lora",
  "llama-prefix-tuning",
  "roberta-seqcls",
  "deberta-v1-seqcls",
  "deberta-v2-xxl-style",
];

test.each(CASES)("%s: gradients of recomputed blocks are those of kept ones", async (name) => {
  const { model, task, rows, adapter, facts } = openCase(name);
  const batch = rows.slice(0, facts.batch_size);
  const virtual = adapter.method.virtual ?? { prompt: 0, prefix: 0 };
  const kept = await computeGradients({ model, task }, batch, adapter, { virtual });
  const again = await computeGradients({ model, task }, batch, adapter, { virtual, recompute: true });
  expect(again.loss).toBeCloseTo(kept.loss, 6);
  expect([...again.gradients.keys()]).toEqual([...kept.gradients.keys()]);
  for (const [key, values] of kept.gradients) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const worst = again.gradients.get(key)!.reduce((most, value, i) => Math.max(most, Math.abs(value - values[i]!)), 0);
    expect(worst, key).toBeLessThanOrEqual(1e-6 * largest + 1e-12);
  }
});

/** Streams of 512 tokens are attended to in parts; 500 is no multiple of 16, and is taken whole. */
test.each(["llama-untied-patterns", "gemma3", "mistral-window", "llama-prefix-tuning", "roberta-seqcls"])(
  "%s: attention in parts, recomputed or not, gives the gradients of attention at once",
  async (name) => {
    const { model, task, rows, adapter, facts } = openCase(name);
    const batch = rows.slice(0, facts.batch_size);
    const virtual = adapter.method.virtual ?? { prompt: 0, prefix: 0 };
    const gradients = (T: number, recompute: boolean) =>
      computeGradients({ model, task }, batch, adapter, { virtual, recompute, streams: { B: 1, T } });
    const whole = await gradients(500, false);
    for (const parts of [await gradients(512, false), await gradients(512, true)]) {
      expect(parts.loss).toBeCloseTo(whole.loss, 6);
      for (const [key, values] of whole.gradients) {
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const worst = parts.gradients
          .get(key)!
          .reduce((most, value, i) => Math.max(most, Math.abs(value - values[i]!)), 0);
        expect(worst, key).toBeLessThanOrEqual(2e-6 * largest + 1e-12);
      }
    }
  },
);

test("recomputation adds each block's forward pass once, gated by its gradient", () => {
  const { model, task, adapter } = openCase("gpt2-c_attn");
  const shape = { B: 1, T: 16, M: 8, chunks: 1 };
  const adapters = [{ method: adapter.method, prefix: "", weight: 1 }];
  const count = (recompute: boolean): number =>
    topological([...trainProgram({ model, task, adapters, shape, recompute }).outputs.values()]).filter(
      ({ op }) => op.type === "After",
    ).length;
  expect(count(true) - count(false)).toBe(2); // the loss has gates of its own
});
