/** Initial values: PEFT's distributions, reproducible by seed, and without effect where they promise it. */

import { expect, test } from "vitest";
import { createAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import type { FloatTensor } from "../../src/tensor/tensor.ts";
import { computeLogits, firstBatch, openCase } from "../goldens/harness.ts";

const llama = openCase("llama-dora");
const make = (fields: Record<string, unknown>, seed = 0) =>
  createAdapter(
    parseAdapterConfig({ target_modules: ["down_proj"], ...fields }, "here"),
    llama.model,
    llama.trace,
    seed,
  );
const at = "base_model.model.model.layers.0.mlp.down_proj";

function spread({ data }: FloatTensor): { mean: number; deviation: number; largest: number } {
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const deviation = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length);
  return { mean, deviation, largest: data.reduce((a, b) => Math.max(a, Math.abs(b)), 0) };
}

test("true: A is uniform within ±1/√in, B zero; the same seed gives the same values, another others", () => {
  const { tensors } = make({ r: 32 });
  const A = spread(tensors.get(`${at}.lora_A.weight`)!);
  expect(A.largest).toBeLessThanOrEqual(1 / 8);
  expect(A.deviation).toBeCloseTo(1 / 8 / Math.sqrt(3), 2);
  expect(spread(tensors.get(`${at}.lora_B.weight`)!).largest).toBe(0);
  expect(make({ r: 32 }).tensors).toEqual(tensors);
  expect(make({ r: 32 }, 1).tensors).not.toEqual(tensors);
});

test("gaussian: A is normal with deviation 1/r, B zero", () => {
  const { tensors } = make({ r: 16, init_lora_weights: "gaussian" });
  expect(spread(tensors.get(`${at}.lora_A.weight`)!).deviation).toBeCloseTo(1 / 16, 2);
  expect(spread(tensors.get(`${at}.lora_B.weight`)!).largest).toBe(0);
});

test("false: B is not zero", () => {
  expect(spread(make({ init_lora_weights: false }).tensors.get(`${at}.lora_B.weight`)!).largest).toBeGreaterThan(0.1);
});

test("orthogonal: B·A vanishes where rows meet, and needs an even rank", () => {
  const { tensors } = make({ r: 8, init_lora_weights: "orthogonal" });
  const [A, B] = [tensors.get(`${at}.lora_A.weight`)!, tensors.get(`${at}.lora_B.weight`)!];
  for (const [i, o] of [
    [0, 0],
    [5, 3],
    [63, 31],
  ] as const) {
    let product = 0;
    for (let k = 0; k < 8; k++) product += B.data[o * 8 + k]! * A.data[k * 64 + i]!;
    expect(Math.abs(product)).toBeLessThan(1e-6);
  }
  expect(() => make({ r: 3, init_lora_weights: "orthogonal" })).toThrow(/even rank/);
});

test("an initialisation that is not known is refused by name", () => {
  expect(() => make({ init_lora_weights: "corda" })).toThrow(/"corda" is not known.*olora/);
});

test.each([
  { name: "LoRA", fields: {} },
  { name: "DoRA", fields: { use_dora: true, target_modules: ["q_proj", "embed_tokens"] } },
  { name: "LoRA on the embedding", fields: { target_modules: ["embed_tokens"] } },
  { name: "modules_to_save", fields: { modules_to_save: ["lm_head", "norm"] } },
  { name: "trainable tokens", fields: { trainable_token_indices: [1, 4] } },
  { name: "IA3", fields: { peft_type: "IA3", target_modules: null } },
])("$name: a new adapter gives the base's logits", async ({ fields }) => {
  const rows = firstBatch(llama);
  const [base, adapted] = [await computeLogits(llama, rows, null), await computeLogits(llama, rows, make(fields))];
  adapted.rows.forEach((row, i) => {
    const worst = row.reduce((largest, value, j) => Math.max(largest, Math.abs(value - base.rows[i]![j]!)), 0);
    expect(worst).toBeLessThan(5e-6);
  });
});

test("prompt tuning starts from the embeddings of a text, repeated, when it is told to", () => {
  const config = parseAdapterConfig(
    { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, prompt_tuning_init: "TEXT", prompt_tuning_init_text: "x" },
    "here",
  );
  expect(() => createAdapter(config, llama.model, llama.trace, 0)).toThrow(/tokenizer/);
  const { tensors } = createAdapter(config, llama.model, llama.trace, 0, { tokenize: () => [7, 8] });
  const { data } = tensors.get("prompt_embeddings")!;
  expect(data.subarray(0, 32)).toEqual(data.subarray(64, 96));
  expect(data.subarray(0, 32)).not.toEqual(data.subarray(32, 64));
});
