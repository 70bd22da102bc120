/** enable_lora, loralib's branches inside a fused layer: the same numbers as the plain LoRA that it is written as. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAdapter, loadAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import { openPeftFolder, savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { computeGradients, computeLogits, firstBatch, openCase, relativeError } from "../goldens/harness.ts";
import { withMerged } from "./merged.ts";

const gpt2 = openCase("gpt2-c_attn");
const C = 32;

test.each([
  { name: "query and value", fields: { enable_lora: [true, false, true] } },
  { name: "key alone, rsLoRA", fields: { enable_lora: [false, true, false], use_rslora: true } },
  {
    name: "all three, rsLoRA and patterns",
    fields: { enable_lora: [true, true, true], use_rslora: true, rank_pattern: { "h.1.attn.c_attn": 2 } },
  },
  { name: "DoRA", fields: { enable_lora: [true, false, true], use_dora: true } },
])("$name: logits, gradients, the written file and merging agree", async ({ fields }) => {
  const config = parseAdapterConfig({ target_modules: ["c_attn"], r: 3, lora_alpha: 7, ...fields }, "here");
  const made = createAdapter(config, gpt2.model, gpt2.trace, 0);
  const random = randomStream(5);
  const tensors = new Map(
    [...made.tensors].map(([key, { shape, data }]) => [
      key,
      floatTensor(
        shape,
        data.map((x) => x + 0.1 * random.normal()),
      ),
    ]),
  );
  const adapter = { ...made, tensors };
  const rows = firstBatch(gpt2);
  const ours = await computeLogits(gpt2, rows, adapter);
  const folder = mkdtempSync(join(tmpdir(), "lowrank-slices-"));
  try {
    savePeftFolder(folder, adapter);
    const plain = loadAdapter(openPeftFolder(folder), gpt2.model, gpt2.trace);
    const theirs = await computeLogits(gpt2, rows, plain);
    for (const [i, row] of ours.rows.entries()) expect(relativeError(row, theirs.rows[i]!)).toBeLessThan(1e-6);
    const [mine, whole] = [await computeGradients(gpt2, rows, adapter), await computeGradients(gpt2, rows, plain)];
    const slices = config.peft_type === "LORA" ? config.enable_lora! : [];
    for (const [key, gradient] of mine.gradients) {
      const other = whole.gradients.get(key)!;
      if (!key.includes("lora_B")) {
        expect(relativeError(gradient, other)).toBeLessThan(1e-5);
        continue;
      }
      const r = gradient.length / (C * slices.filter(Boolean).length);
      const width = other.length / (3 * C);
      const picked: number[] = [];
      let at = 0;
      slices.forEach((enabled, slice) => {
        if (!enabled) return;
        for (let row = 0; row < C; row++)
          for (let k = 0; k < r; k++) picked.push(other[(slice * C + row) * width + at * r + k]!);
        at++;
      });
      expect(relativeError(gradient, picked)).toBeLessThan(1e-5);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const merged = await withMerged(adapter, gpt2.model, gpt2.trace, (model) =>
    computeLogits({ ...gpt2, model }, rows, null),
  );
  for (const [i, row] of merged.rows.entries()) expect(relativeError(row, ours.rows[i]!)).toBeLessThan(5e-6);
});

test("slices that do not divide the outputs, and none at all, are refused", () => {
  const make = (fields: Record<string, unknown>) => () =>
    createAdapter(parseAdapterConfig({ target_modules: ["c_attn"], ...fields }, "here"), gpt2.model, gpt2.trace, 0);
  expect(make({ enable_lora: [true, false, true, true, true] })).toThrow(/5 slices does not fit .*c_attn with 96/);
  expect(make({ enable_lora: [false, false, false] })).toThrow(/enable_lora: needs a true/);
  expect(make({ enable_lora: [true, false, true], init_lora_weights: "pissa" })).toThrow(/enable_lora has no init/);
});
