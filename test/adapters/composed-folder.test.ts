/** Composed adapters through training and files: what is trained together is read back with the same logits. */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadAdapter } from "../../src/adapters/adapter.ts";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { trainOptions } from "../../src/train/options.ts";
import { prepare } from "../../src/train/prepare.ts";
import { trainHere } from "../../src/train/train.ts";
import { computeGradients, openCase } from "../goldens/harness.ts";

test.each([
  { name: "gpt2-c_attn", method: "lora+prefix-tuning", fields: { r: 2, num_virtual_tokens: 3 } },
  { name: "gpt2-c_attn", method: "lora+prompt_tuning", fields: { num_virtual_tokens: 2 } },
  { name: "gpt2-c_attn", method: "lora+ia3", fields: { use_dora: true } },
  { name: "gpt2-c_attn", method: "lora+bitfit", fields: { init_lora_weights: "pissa" } },
  { name: "bert-seqcls", method: "lora+bitfit", fields: {} },
])("$name, $method: trains, and is read back as it was", async ({ name, method, fields }) => {
  const golden = openCase(name);
  const out = mkdtempSync(join(tmpdir(), "lowrank-composed-"));
  try {
    const input = {
      model: join(golden.folder, "model"),
      data: join(golden.folder, "data.jsonl"),
      out,
      method,
      adapterFields: fields,
      maxSteps: 4,
      batchSize: 2,
      shuffle: false,
      lr: 1e-2,
      scheduler: "constant",
    } as const;
    const losses: number[] = [];
    for await (const event of trainHere({ ...input, saveSteps: 2 }, { runtime: nodeRuntime })) {
      if (event.event === "step") losses.push(event.loss);
    }
    const second = method.split("+")[1]!.replace("-", "_");
    expect(existsSync(join(out, second, "adapter_model.safetensors"))).toBe(true);
    const folder = openPeftFolder(out);
    expect(folder.config.peft_type).toBe("LORA");
    const adapter = loadAdapter(folder, golden.model, golden.trace);
    const virtual = { prompt: 0, prefix: 0, ...adapter.method.virtual };

    // Before the third step the weights were those of checkpoint-2.
    const half = loadAdapter(openPeftFolder(join(out, "checkpoint-2")), golden.model, golden.trace);
    const { loss } = await computeGradients(golden, golden.rows.slice(4, 6), half, { virtual });
    expect(Math.abs(loss - losses[2]!) / losses[2]!).toBeLessThan(1e-5);

    // Going on from the folder is going on from its values.
    if (!("init_lora_weights" in fields)) {
      const again = trainOptions({ ...input, method: null, adapterFields: {}, initAdapter: out });
      const on = await prepare(again, nodeRuntime);
      expect(on.parameters).toEqual(adapter.tensors);
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});

test("--alpha means LoKr's own alpha", async () => {
  const golden = openCase("llama-lokr");
  const out = mkdtempSync(join(tmpdir(), "lowrank-lokr-"));
  try {
    const options = { model: join(golden.folder, "model"), data: join(golden.folder, "data.jsonl"), out };
    const asked = trainOptions({ ...options, method: "lokr", adapterFields: { r: 2, lora_alpha: 6 } });
    const run = await prepare(asked, nodeRuntime);
    run.save(out, run.parameters);
    expect(openPeftFolder(out).config).toMatchObject({ peft_type: "LOKR", alpha: 6 });
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});

test("a method that is named twice is refused", async () => {
  const golden = openCase("gpt2-c_attn");
  const options = { model: join(golden.folder, "model"), data: join(golden.folder, "data.jsonl"), out: "x" };
  const run = prepare(trainOptions({ ...options, method: "lora+lora" }), nodeRuntime);
  await expect(run).rejects.toThrow(/LORA is named twice/);
});
