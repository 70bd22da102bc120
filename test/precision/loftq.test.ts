import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import { mergeHere } from "../../src/merge/merge.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { atPrecision } from "../../src/precision/precision.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-loftq-"));
const cacheDir = join(folder, "cache");
const at = caseFolder("llama-untied-patterns");

test("B·A is PEFT's decomposition of what NF4 takes off, whatever alpha is", async () => {
  const expected = JSON.parse(readFileSync(join(import.meta.dirname, "loftq.json"), "utf8")) as Record<
    string,
    { shape: [number, number]; product: number[] }
  >;
  const model = openModel(join(at, "model"));
  const trace = traceChecked(model, "causal-lm");
  const settled = { model, trace, task: "causal-lm" } as const;
  const computed = await atPrecision(settled, { precision: "int4", quantType: "nf4", cacheDir }, nodeRuntime);
  const fields = {
    peft_type: "LORA",
    r: 4,
    lora_alpha: 8,
    init_lora_weights: "loftq",
    target_modules: ["q_proj", "v_proj"],
  };
  const { config, tensors } = createAdapter(parseAdapterConfig(fields, "test"), model, trace, 0, { computed });
  expect(config).toMatchObject({ init_lora_weights: true }); // plain, on the quantised base
  for (const [name, { shape, product }] of Object.entries(expected)) {
    const [A, B] = ["A", "B"].map((each) => tensors.get(`base_model.model.${name}.lora_${each}.weight`)!.data);
    const [rows, columns] = shape;
    product.forEach((value, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += B![row * 4 + k]! * A![k * columns + column]!;
      expect(Math.abs(2 * sum - value)).toBeLessThan(1e-6);
    });
    expect(product.length).toBe(rows * columns);
  }
});

async function firstLoss(input: Partial<TrainInput>): Promise<number> {
  const events: TrainEvent[] = [];
  const out = mkdtempSync(join(folder, "out-"));
  const common = { model: join(at, "model"), data: join(at, "data.jsonl"), maxSteps: 1, shuffle: false, cacheDir };
  for await (const event of trainHere({ ...common, out, ...input }, { runtime: nodeRuntime })) events.push(event);
  return events.flatMap((event) => (event.event === "step" ? [event.loss] : []))[0]!;
}

test("training begins nearer to the float base than from a branch that does nothing", async () => {
  const adapterFields = { r: 8, target_modules: "all-linear" };
  const held = { precision: "int4", quantType: "nf4" } as const;
  const float = await firstLoss({ adapterFields });
  const plain = await firstLoss({ ...held, adapterFields });
  const loftq = await firstLoss({ ...held, adapterFields: { ...adapterFields, init_lora_weights: "loftq" } });
  expect(Math.abs(loftq - float)).toBeLessThan(Math.abs(plain - float));
  await expect(firstLoss({ adapterFields: { ...adapterFields, init_lora_weights: "loftq" } })).rejects.toThrow(
    "Use --precision int4",
  );
});

test("an adapter of a four-bit base merges into what the bits stand for", async () => {
  const input = { model: join(at, "model"), adapters: [{ name: "a", path: join(at, "adapter"), weight: 1 }], cacheDir };
  const held = await mergeHere(
    { ...input, out: join(folder, "held"), precision: "int4", quantType: "nf4" },
    nodeRuntime,
  );
  expect(held.maxAbsDiff).toBeLessThan(1e-4);
  await mergeHere({ ...input, out: join(folder, "float") }, nodeRuntime);
  const numbers = (name: string): Float32Array =>
    openModel(join(folder, name)).read("model.layers.0.mlp.up_proj.weight", [64, 32]);
  expect(numbers("held")).not.toEqual(numbers("float"));
});
