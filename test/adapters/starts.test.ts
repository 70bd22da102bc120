/** PiSSA and OLoRA against PEFT: initial values, losses of training, and the plain adapter that they are saved as. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { createAdapter, loadAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { trainHere } from "../../src/train/train.ts";
import { computeLogits, firstBatch, openCase, relativeError, TOLERANCES } from "../goldens/harness.ts";
import { withMerged } from "./merged.ts";

const folderOf = (name: string): string => fileURLToPath(new URL(`starts/${name}`, import.meta.url));
const NAMES = ["llama-pissa", "llama-olora", "gpt2-pissa-rslora"];

function open(name: string) {
  const folder = folderOf(name);
  const facts = JSON.parse(readFileSync(join(folder, "facts.json"), "utf8")) as { case: string; losses: number[] };
  const golden = openCase(facts.case);
  const config = openPeftFolder(join(folder, "raw")).config;
  const wanted = readTensors(openSafetensors(join(folder, "expected.safetensors"))).get("trained.logits")!;
  return { ...facts, folder, golden, config, wanted };
}

/** Largest difference of logits at real tokens. */
function worst(
  { rows, classes }: Awaited<ReturnType<typeof computeLogits>>,
  { data, shape }: ReturnType<typeof open>["wanted"],
): number {
  let largest = 0;
  rows.forEach((row, b) => {
    row.forEach((value, i) => {
      largest = Math.max(largest, Math.abs(value - Number(data[b * shape[1]! * classes + i])));
    });
  });
  return largest;
}

test.each(NAMES)("%s: initial values are PEFT's, but for signs, and change nothing", async (name) => {
  const { golden, config, folder } = open(name);
  const adapter = createAdapter(config, golden.model, golden.trace, 0);
  const theirs = readTensors(openSafetensors(join(folder, "init/adapter_model.safetensors")));
  for (const [key, { data, shape }] of adapter.tensors) {
    const other = theirs.get(key)!;
    const [rows = 0, columns = 0] = shape;
    const rankOf = (i: number): number => (key.includes("lora_A") ? Math.floor(i / columns) : i % columns);
    const along = new Float64Array(Math.max(rows, columns));
    data.forEach((value, i) => {
      along[rankOf(i)]! += value * Number(other.data[i]);
    });
    const turned = Float32Array.from(other.data as Float32Array, (value, i) => value * Math.sign(along[rankOf(i)]!));
    expect(relativeError(data, turned)).toBeLessThan(1e-4);
  }
  const rows = firstBatch(golden);
  const [base, adapted] = [await computeLogits(golden, rows, null), await computeLogits(golden, rows, adapter)];
  for (const [i, row] of adapted.rows.entries()) expect(relativeError(row, base.rows[i]!)).toBeLessThan(1e-5);
});

test.each(NAMES)("%s: training follows PEFT's losses, and the saved plain adapter gives its logits", async (name) => {
  const { golden, folder, losses, wanted } = open(name);
  const out = mkdtempSync(join(tmpdir(), "lowrank-starts-"));
  try {
    const run = trainHere(
      {
        model: join(golden.folder, "model"),
        data: join(golden.folder, "data.jsonl"),
        out,
        adapterConfig: join(folder, "raw"),
        batchSize: 2,
        maxSteps: losses.length,
        lr: 5e-3,
        scheduler: "constant",
        weightDecay: 0.01,
        shuffle: false,
      },
      { runtime: nodeRuntime },
    );
    for await (const event of run) {
      if (event.event === "step") {
        const theirs = losses[event.step - 1]!;
        expect(Math.abs(event.loss - theirs) / theirs).toBeLessThan(TOLERANCES.loss);
      }
    }
    const ours = openPeftFolder(out);
    const theirs = openPeftFolder(join(folder, "converted"));
    expect(ours.config).toMatchObject({
      r: 8,
      init_lora_weights: true,
      lora_alpha: theirs.config["lora_alpha" as never],
    });
    expect(readFileSync(join(out, "adapter_config.json"), "utf8")).not.toContain("enable_lora");
    const adapter = loadAdapter(ours, golden.model, golden.trace);
    expect(worst(await computeLogits(golden, firstBatch(golden), adapter), wanted)).toBeLessThan(TOLERANCES.logits);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});

test.each(NAMES)("%s: PEFT's file is read converted or not, and merges", async (name) => {
  const { golden, folder, wanted } = open(name);
  const rows = firstBatch(golden);
  for (const part of ["converted", "raw"]) {
    const adapter = loadAdapter(openPeftFolder(join(folder, part)), golden.model, golden.trace);
    expect(worst(await computeLogits(golden, rows, adapter), wanted)).toBeLessThan(TOLERANCES.logits);
    const merged = await withMerged(adapter, golden.model, golden.trace, (model) =>
      computeLogits({ ...golden, model }, rows, null),
    );
    expect(worst(merged, wanted)).toBeLessThan(TOLERANCES.logits);
  }
});

test("pissa_niter_N comes close to the exact factors, and its file needs conversion", () => {
  const { golden, config } = open("llama-pissa");
  const make = (init_lora_weights: string) =>
    createAdapter({ ...config, init_lora_weights } as typeof config, golden.model, golden.trace, 0).tensors;
  const [exact, near] = [make("pissa"), make("pissa_niter_60")];
  const A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const strength = (tensors: typeof exact): number =>
    tensors.get(A)!.data.reduce((sum, value) => sum + value * value, 0);
  expect(strength(near) / strength(exact)).toBeCloseTo(1, 3);
});

test("DoRA with a start from the base, and ranks beyond the matrix, are refused", () => {
  const { golden } = open("llama-pissa");
  const make = (fields: Record<string, unknown>) => () =>
    createAdapter(parseAdapterConfig({ target_modules: ["q_proj"], ...fields }, "here"), golden.model, golden.trace, 0);
  expect(make({ init_lora_weights: "pissa", use_dora: true })).toThrow(/use_dora with init_lora_weights pissa/);
  expect(make({ init_lora_weights: "olora", r: 1000 })).toThrow(/rank 1000 is more/);
});
