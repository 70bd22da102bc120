/** Channels of inputs that int8 multiplies in float32, on a model in which such were planted. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { type Model, openModel, traceChecked } from "../../src/models/open.ts";
import { createStream } from "../../src/models/stream.ts";
import { quantiseModel } from "../../src/precision/cache.ts";
import { byteLevels } from "../../src/precision/levels.ts";
import { findOutliers, firstReader, type Settled } from "../../src/precision/outliers.ts";
import { atPrecision } from "../../src/precision/precision.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Runtime } from "../../src/runtime/session.ts";
import { caseFolder, computeLogits, openCase, relativeError } from "../goldens/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-outliers-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CASE = "llama-untied-patterns";
const CHANNEL = 7;
const GAIN = 50;
const options = { precision: "int8", quantType: "int4" } as const;

/** The case's model, one channel of what its layers read fifty times as large: the gains of all norms have it. */
let settled: Settled;
beforeAll(() => {
  cpSync(join(caseFolder(CASE), "model"), join(folder, "model"), { recursive: true });
  const file = join(folder, "model", "model.safetensors");
  const tensors = readTensors(openSafetensors(file));
  for (const [name, { data }] of tensors) if (name.endsWith("norm.weight")) data[CHANNEL] = GAIN;
  writeSafetensors(file, tensors);
  settled = settle(openModel(join(folder, "model")));
});

function settle(model: Model): Settled {
  return { model, trace: traceChecked(model, "causal-lm"), task: "causal-lm" };
}

const logits = async (model: Model): Promise<readonly Float32Array[]> => {
  const { rows } = openCase(CASE);
  return (await computeLogits({ model, task: "causal-lm" }, rows, null)).rows;
};

test("what is planted is found, of every input that a norm makes, and the same again", async () => {
  const found = await findOutliers(settled, nodeRuntime);
  const normed = [...settled.trace.modules.values()].filter(({ name }) => /(q|gate)_proj$|lm_head/.test(name));
  expect(normed.length).toBe(5);
  for (const { name } of normed) {
    expect(found.get(name)).toContain(CHANNEL);
    expect(found.get(name)!.length).toBe(2); // a 16th of 32
  }
  expect(firstReader(settled.trace, "model.layers.1.self_attn.v_proj")).toBe("model.layers.1.self_attn.q_proj");
  expect(await findOutliers(settled, nodeRuntime)).toEqual(found);
});

test("a model without gated MLPs is not looked at", async () => {
  const { model } = openCase("gpt2-c_attn");
  expect(await findOutliers(settle(model), nodeRuntime)).toEqual(new Map());
});

test("scores are several times nearer to those of float32 than with the channel in bytes", async () => {
  const levels = await byteLevels(nodeRuntime);
  const without = await quantiseModel(settled.model, settled.trace, { cacheDir: join(folder, "without"), levels });
  const held = await atPrecision(settled, { ...options, cacheDir: join(folder, "cache") }, nodeRuntime);
  const exact = await logits(settled.model);
  const errorOf = async (model: Model): Promise<number> => {
    const errors = (await logits(model)).map((row, i) => relativeError(row, exact[i]!));
    return Math.max(...errors);
  };
  const [coarse, fine] = [await errorOf(without), await errorOf(held)];
  expect(fine).toBeGreaterThan(0);
  expect(fine).toBeLessThan(coarse / 4);
});

test("a matrix that an adapter asks for has the channel's weights as they were", async () => {
  const held = await atPrecision(settled, { ...options, cacheDir: join(folder, "cache") }, nodeRuntime);
  const [name, shape] = ["model.layers.0.mlp.up_proj.weight", [64, 32]] as const;
  const session = await nodeRuntime.open(new Map([["w", held.weights(createStream(1, 2)).get(name, shape)]]), {
    threads: 1,
  });
  const found = (await session.run(new Map())).get("w")!.data as Float32Array;
  await session.close();
  const needed = settled.model.read(name, shape);
  const column = (values: Float32Array): Float32Array => values.filter((_, i) => i % 32 === CHANNEL);
  expect(column(found)).toEqual(column(needed));
  expect(relativeError(found, needed)).toBeLessThan(0.01);
});

test("the copy is made once, and the same bytes each time", async () => {
  let opened = 0;
  const counting: Runtime = {
    ...nodeRuntime,
    open: (outputs, how) => {
      opened++;
      return nodeRuntime.open(outputs, how);
    },
  };
  const make = async (name: string): Promise<Buffer> => {
    const cacheDir = join(folder, name);
    await atPrecision(settled, { ...options, cacheDir }, counting);
    return readFileSync(join(cacheDir, readdirSync(cacheDir)[0]!));
  };
  const first = await make("first");
  expect(opened).toBe(2); // the probe of this machine's products, and the model
  expect(await make("first")).toEqual(first);
  expect(opened).toBe(3);
  expect((await make("second")).equals(first)).toBe(true);
});
