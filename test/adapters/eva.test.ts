/** EVA's ranks and directions against PEFT's own (make_eva.py). */

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import { shareRanks } from "../../src/adapters/eva.ts";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { addRows, type PcaState } from "../../src/tensor/incremental-pca.ts";
import { multiply, svd, transpose } from "../../src/tensor/linear-algebra.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { evaStart } from "../../src/train/eva.ts";
import { type TrainInput, trainOptions } from "../../src/train/options.ts";
import { prepareRows } from "../../src/train/prepare.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

interface Case {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  /** A [r, in] by module; modules of rank 0 are absent. */
  readonly vectors: Readonly<Record<string, readonly (readonly number[])[]>>;
}

const cases = JSON.parse(readFileSync(join(import.meta.dirname, "eva.json"), "utf8")) as Record<string, Case>;
const at = caseFolder("llama-untied-patterns");

function input(fields: Case["fields"]): TrainInput {
  const adapterFields = { ...fields, init_lora_weights: "eva" };
  const out = mkdtempSync(join(tmpdir(), "lowrank-eva-"));
  const common = { model: join(at, "model"), data: join(at, "data.jsonl"), out, method: "lora" };
  return { ...common, batchSize: 4, shuffle: false, adapterFields };
}

/** Layers that read one input, whose equal shares PEFT orders by an unstable sort, under one name. */
function group(module: string): string {
  return module.replace(/[qkv]_proj$/, "qkv").replace(/(gate|up)_proj$/, "gate_up");
}

/** Each group's numbers in order of size. */
function grouped(values: Iterable<readonly [string, number]>): Record<string, number[]> {
  const groups: Record<string, number[]> = {};
  for (const [module, value] of values) groups[group(module)] = [...(groups[group(module)] ?? []), value];
  for (const each of Object.values(groups)) each.sort((a, b) => a - b);
  return groups;
}

test.each(Object.keys(cases))("%s: PEFT's ranks, alphas and subspaces", async (name) => {
  const { fields, rank_pattern, alpha_pattern, vectors } = cases[name]!;
  const start = (await evaStart(await prepareRows(trainOptions(input(fields)), nodeRuntime), nodeRuntime))!;
  const { fields: found, directions } = start;
  expect(grouped(Object.entries(found.rank_pattern))).toEqual(grouped(Object.entries(rank_pattern)));
  expect(grouped(Object.entries(found.alpha_pattern))).toEqual(grouped(Object.entries(alpha_pattern)));
  const width = (module: string): number => (/(o|down)_proj$/.test(module) ? 64 : 32);
  const ranks = [...directions].map(([module, A]) => [module, A.length / width(module)] as const);
  expect(grouped(ranks.filter(([, rank]) => rank > 0))).toEqual(
    grouped(Object.entries(vectors).map(([module, rows]) => [module, rows.length] as const)),
  );
  for (const [module, rows] of Object.entries(vectors)) {
    const n = width(module);
    const both = Math.min(rows.length, directions.get(module)!.length / n);
    const own = directions.get(module)!.subarray(0, both * n);
    const theirs = rows.slice(0, both).flat();
    for (let i = 0; i < both; i++) {
      const [length, expected] = [own, theirs].map((A) => Math.hypot(...A.slice(i * n, (i + 1) * n)));
      // PEFT whitens directions that layers share once for each of them, in place; here it is done once.
      if (group(module) === module) expect(Math.abs(length! / expected! - 1)).toBeLessThan(1e-3);
    }
    const cosines = svd(
      multiply(unitRows(own, n), transpose(unitRows(theirs, n), both, n), both, n, both),
      both,
      both,
    ).s;
    expect(cosines.at(-1)).toBeGreaterThan(0.999); // PEFT's own directions are approximate: random projections
  }
});

function unitRows(rows: ArrayLike<number>, width: number): number[] {
  return Array.from(rows, (value, i) => {
    const from = i - (i % width);
    return value / Math.hypot(...Array.from({ length: width }, (_, j) => rows[from + j]!));
  });
}

test("components of rows in batches are those of all rows at once", () => {
  const random = randomStream(5);
  const [n, width] = [40, 6];
  const rows = Float64Array.from({ length: n * width }, (_, i) => random.normal() * (1 + (i % width)) + (i % width));
  let state: PcaState | null = null;
  for (const [from, to] of [
    [0, 9],
    [9, 31],
    [31, 40],
  ] as const)
    state = addRows(state, rows.subarray(from * width, to * width), width, width, randomStream(1));
  const centred = rows.map((value, i) => value - state!.mean[i % width]!);
  const { s, vt } = svd(centred, n, width);
  const total = s.reduce((sum, value) => sum + value * value, 0);
  expect(state!.count).toBe(n);
  state!.vectors.forEach((vector, i) => {
    const along = vector.reduce((sum, value, j) => sum + value * vt[i * width + j]!, 0);
    expect(Math.abs(along)).toBeCloseTo(1, 9);
    expect(state!.values[i]).toBeCloseTo(s[i]!, 9);
    expect(state!.ratios[i]).toBeCloseTo((s[i]! * s[i]!) / total, 9);
  });
});

test("the budget goes to the largest shares, and the first of those who share an input has the most", () => {
  const layers = [
    { module: "a", input: "a" },
    { module: "b", input: "a" },
    { module: "c", input: "c" },
  ];
  const ratios = (from: string): number[] => (from === "a" ? [0.5, 0.2] : [0.3, 0.1]);
  expect(Object.fromEntries(shareRanks(layers, ratios, 4))).toEqual({ a: 2, b: 1, c: 1 });
});

test("a run starts there, saves PEFT's fields and is resumed", async () => {
  const given = { ...input(cases["dropped"]!.fields), maxSteps: 2, saveSteps: 1 };
  for await (const _event of trainHere(given, { runtime: nodeRuntime }));
  const { config, tensors } = openPeftFolder(given.out);
  expect(config).toMatchObject({ init_lora_weights: "eva", eva_config: { rho: 3, tau: 0.9, whiten: false } });
  const key = "base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight";
  expect(tensors.get(key)!.shape).toEqual([2, 64]);
  expect([...tensors.keys()].filter((each) => each.includes("layers.0.self_attn.q_proj"))).toEqual([]);
  const steps: number[] = [];
  for await (const event of trainHere({ ...given, maxSteps: 3, resume: true }, { runtime: nodeRuntime }))
    if (event.event === "step") steps.push(event.step);
  expect(steps).toEqual([3]);
});

test("what cannot be done is said", async () => {
  const run = async (fields: Case["fields"], more: Partial<TrainInput> = {}): Promise<unknown> =>
    evaStart(await prepareRows(trainOptions({ ...input(fields), ...more }), nodeRuntime), nodeRuntime);
  await expect(run({ r: 20, target_modules: ["q_proj"] })).rejects.toThrow("more than the 32 inputs");
  await expect(run({ r: 16, target_modules: ["q_proj"] }, { batchSize: 1 })).rejects.toThrow("Raise --batch-size");
  await expect(run({ r: 2, target_modules: ["lm_head"] })).rejects.toThrow("No linear layer before the head");
  const model = openModel(join(at, "model"));
  const config = parseAdapterConfig({ peft_type: "LORA", init_lora_weights: "eva" }, "test");
  expect(() => createAdapter(config, model, traceChecked(model, "causal-lm"), 0)).toThrow("starts from training rows");
});
