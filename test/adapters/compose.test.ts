/** Methods as one: their gradients are those of finite differences, and merging follows the weights. */

import { expect, test } from "vitest";
import { type Adapter, bindContext, createAdapter, initialTensors } from "../../src/adapters/adapter.ts";
import { bindMethod, parseAdapterConfig } from "../../src/adapters/bind.ts";
import { composeMethods } from "../../src/adapters/compose.ts";
import type { Model } from "../../src/models/open.ts";
import { streamInputs } from "../../src/models/stream.ts";
import { bucket, NO_VIRTUAL, place } from "../../src/program/layout.ts";
import { logitsProgram } from "../../src/program/program.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import {
  computeGradients,
  computeLogits,
  firstBatch,
  type GoldenCase,
  openCase,
  relativeError,
} from "../goldens/harness.ts";
import { withMerged, withMergedBy } from "./merged.ts";

const gpt2 = openCase("gpt2-c_attn");

/** The methods composed, every tensor moved a little from its initial value, so that all of them matter. */
function composed(golden: GoldenCase, configs: readonly Record<string, unknown>[]): Adapter {
  const context = bindContext(golden.model, golden.trace, true);
  const parsed = configs.map((fields) => parseAdapterConfig(fields, "here"));
  const method = composeMethods(parsed.map((config) => bindMethod(config, context)));
  const random = randomStream(3);
  const tensors = new Map<string, FloatTensor>();
  for (const [key, { shape, data }] of initialTensors(method, golden.model, 1)) {
    tensors.set(
      key,
      floatTensor(
        shape,
        data.map((value) => value + 0.05 * random.normal()),
      ),
    );
  }
  return { config: parsed[0]!, method, tensors };
}

const LORA = { target_modules: ["c_attn"], r: 2 };

test.each([
  { name: "LoRA and prefix", others: [{ peft_type: "PREFIX_TUNING", num_virtual_tokens: 2 }] },
  { name: "LoRA and prompt", others: [{ peft_type: "PROMPT_TUNING", num_virtual_tokens: 2 }] },
  { name: "LoRA and IA3", others: [{ peft_type: "IA3" }] },
  { name: "LoRA and BitFit", others: [{ peft_type: "BITFIT" }] },
  {
    name: "DoRA, prompt, prefix and IA3",
    others: [
      { peft_type: "LORA", target_modules: ["mlp.c_proj"], r: 2, use_dora: true },
      { peft_type: "PROMPT_TUNING", num_virtual_tokens: 1 },
      { peft_type: "IA3" },
    ],
  },
])(
  "$name: gradients are those of finite differences",
  async ({ others }) => {
    const adapter = composed(gpt2, [LORA, ...others]);
    const rows = firstBatch(gpt2);
    const options = { virtual: { prompt: 0, prefix: 0, ...adapter.method.virtual } };
    const { gradients } = await computeGradients(gpt2, rows, adapter, options);
    const loss = async (key: string, moved: Float32Array): Promise<number> => {
      const tensors = new Map([...adapter.tensors, [key, floatTensor(adapter.tensors.get(key)!.shape, moved)]]);
      return (await computeGradients(gpt2, rows, { ...adapter, tensors }, options)).loss;
    };
    // One tensor of each method and kind, along its gradient: the change of the loss is step · ‖gradient‖².
    const kinds = new Map([...adapter.tensors.keys()].map((key) => [key.replace(/^.*\.\d+\./, ""), key]));
    for (const key of kinds.values()) {
      if (
        key.endsWith("lora_A.weight") &&
        adapter.method.parameters.get(key.replace("lora_A.weight", "lora_magnitude_vector"))
      )
        continue; // DoRA's norm counts as a constant: its gradient is not the difference
      if (
        adapter.method.parameters.get(key.replace("lora_B.weight", "lora_magnitude_vector")) &&
        key.endsWith("lora_B.weight")
      )
        continue;
      const gradient = gradients.get(adapter.method.parameters.get(key)!.torchName ?? key)!;
      const square = gradient.reduce((sum, value) => sum + value * value, 0);
      const step = 0.02 / Math.sqrt(square);
      const { data } = adapter.tensors.get(key)!;
      const there = await loss(
        key,
        data.map((value, i) => value + step * gradient[i]!),
      );
      const back = await loss(
        key,
        data.map((value, i) => value - step * gradient[i]!),
      );
      expect((there - back) / (2 * step) / square, key).toBeCloseTo(1, 1.7);
    }
  },
  120_000,
);

test("two methods that train the same tensor cannot be composed", () => {
  expect(() => composed(gpt2, [LORA, LORA])).toThrow(/Two methods train .*c_attn.lora_A/);
});

test.each([
  { name: "LoRA", fields: LORA },
  { name: "DoRA", fields: { ...LORA, use_dora: true } },
  { name: "IA3", fields: { peft_type: "IA3" } },
])("$name: weight 0 is the base", async ({ fields }) => {
  const adapter = composed(gpt2, [fields]);
  const rows = firstBatch(gpt2);
  const base = await computeLogits(gpt2, rows, null);
  const merged = await withMerged(
    adapter,
    gpt2.model,
    gpt2.trace,
    (model) => computeLogits({ ...gpt2, model }, rows, null),
    0,
  );
  expect(merged.rows).toEqual(base.rows);
});

test("LoRA under IA3 in one layer merges to what runs unmerged", async () => {
  const adapter = composed(gpt2, [LORA, { peft_type: "IA3" }, { peft_type: "BITFIT" }]);
  const rows = firstBatch(gpt2);
  const apart = await computeLogits(gpt2, rows, adapter);
  const merged = await withMerged(adapter, gpt2.model, gpt2.trace, (model) =>
    computeLogits({ ...gpt2, model }, rows, null),
  );
  merged.rows.forEach((row, i) => {
    const worst = row.reduce((largest, value, j) => Math.max(largest, Math.abs(value - apart.rows[i]![j]!)), 0);
    expect(worst).toBeLessThan(1e-5);
  });
});

test("a new head, where the checkpoint has none, starts with small normals", () => {
  const source = { ...gpt2.model.source, has: () => false };
  const adapter = createAdapter(
    parseAdapterConfig({ ...LORA, modules_to_save: ["ln_f"] }, "here"),
    { ...gpt2.model, source },
    gpt2.trace,
    0,
  );
  expect(adapter.tensors.get("base_model.model.transformer.ln_f.bias")!.data.every((value) => value === 0)).toBe(true);
});

test("two adapters with weights: modules, tables and DoRA blend as merging says", async () => {
  const golden = openCase("llama-tied-modules-to-save");
  const { model, trace, task } = golden;
  const fields = { target_modules: ["q_proj"], r: 2, use_dora: true };
  const adapters = [
    { ...composed(golden, [{ ...fields, modules_to_save: ["lm_head"] }]), prefix: "a/", weight: 0.7 },
    {
      ...composed(golden, [{ ...fields, modules_to_save: ["lm_head", "embed_tokens", "norm"] }]),
      prefix: "b/",
      weight: -0.4,
    },
  ];
  const ids = Int32Array.from(golden.rows[0]!.input_ids);
  const T = bucket(ids.length);
  const { layout } = place([{ ids }], { B: 1, T }, NO_VIRTUAL);
  const at = { dtype: "i32", shape: [ids.length], data: ids.map((_, i) => i) } as const;
  const logits = async (from: Model, mounted: typeof adapters): Promise<Float32Array> => {
    const program = logitsProgram({
      model: from,
      task,
      adapters: mounted,
      shape: { B: 1, T, M: ids.length, chunks: 1 },
    });
    const session = await nodeRuntime.open(program.outputs, { threads: 2 });
    const tensors = mounted.flatMap(({ prefix, tensors: own }) =>
      [...own].map(([key, each]) => [prefix + key, each] as const),
    );
    const inputs = new Map<string, Tensor>([
      ...streamInputs(program.stream, { ...layout, draw: 0 }),
      ["rows", at],
      ...tensors,
    ]);
    const out = (await session.run(inputs)).get("logits")!.data.slice() as Float32Array;
    await session.close();
    return out;
  };
  const apart = await logits(model, adapters);
  const merge = (name: string, frozen: Float32Array): Float32Array =>
    adapters.reduce(
      (tensor, { method, tensors, weight }) =>
        method.merge({ name, tensor, frozen, values: (key) => tensors.get(key)!, weight }) ?? tensor,
      frozen,
    );
  const merged = await withMergedBy(merge, ["lm_head"], model, trace, (each) => logits(each, []));
  expect(relativeError(merged, apart)).toBeLessThan(1e-5);
});
