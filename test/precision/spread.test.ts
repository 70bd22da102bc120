/** Inputs with channels far larger than the rest in int8: what spreads them, and a model in which such were planted. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { constant } from "../../src/graph/graph.ts";
import { mul } from "../../src/graph/ops/arithmetic.ts";
import { matMul } from "../../src/graph/ops/matmul.ts";
import { type Model, openModel, traceChecked } from "../../src/models/open.ts";
import { createStream } from "../../src/models/stream.ts";
import { quantiseModel } from "../../src/precision/cache.ts";
import { findUnevenInputs, firstReader, type Settled } from "../../src/precision/calibrate.ts";
import { byteLevels } from "../../src/precision/levels.ts";
import { atPrecision } from "../../src/precision/precision.ts";
import { channelGains, dealt, hadamards, spreadRows } from "../../src/precision/spread.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Runtime } from "../../src/runtime/session.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { caseFolder, computeLogits, openCase, relativeError } from "../goldens/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-spread-"));
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

test("what is planted is found, in every input that a norm makes, and the same again", async () => {
  const found = await findUnevenInputs(settled, nodeRuntime);
  const normed = [...settled.trace.modules.values()].filter(({ name }) => /(q|gate)_proj$|lm_head/.test(name));
  expect(normed.length).toBe(5);
  for (const { name } of normed) {
    const sizes = found.get(name)!;
    expect(sizes.length).toBe(32);
    expect(sizes.indexOf(Math.max(...sizes))).toBe(CHANNEL);
  }
  expect(firstReader(settled.trace, "model.layers.1.self_attn.v_proj")).toBe("model.layers.1.self_attn.q_proj");
  expect(await findUnevenInputs(settled, nodeRuntime)).toEqual(found);
});

test.each([
  { K: 96, transposed: false },
  { K: 48, transposed: true }, // blocks of 16
  { K: 7, transposed: true }, // blocks of 1
])("spread rows times spread weights are the product that they were: %o", async ({ K, transposed }) => {
  const [N, M] = [5, 6];
  const random = randomStream(1);
  const draw = (shape: readonly number[]): Tensor => ({
    dtype: "f32",
    shape,
    data: Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
  });
  const [x, W] = [constant(draw([N, K])), draw(transposed ? [M, K] : [K, M])];
  const gains = channelGains(Float32Array.from({ length: K }, (_, i) => (i === 3 ? 40 : i % 2)));
  const spread = new Float32Array(W.data as Float32Array);
  spreadRows(spread, { K, M, transposed, levels: 127 }, gains);
  const rows = dealt(mul(x, constant({ dtype: "f32", shape: [K], data: gains })), hadamards()(K));
  const wanted = matMul(x, constant(W), { transB: transposed });
  const session = await nodeRuntime.open(
    new Map([
      ["found", matMul(rows, constant({ ...W, data: spread }), { transB: transposed })],
      ["wanted", wanted],
    ]),
    { threads: 1 },
  );
  const results = await session.run(new Map());
  await session.close();
  const [found, needed] = ["found", "wanted"].map((name) => results.get(name)!.data as Float32Array);
  expect(relativeError(found!, needed!)).toBeLessThan(1e-5);
});

test("inputs of like channels stay as they are", async () => {
  const { model } = openCase("gpt2-c_attn");
  expect(await findUnevenInputs(settle(model), nodeRuntime)).toEqual(new Map());
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

test("a matrix that an adapter asks for is near what it was", async () => {
  const held = await atPrecision(settled, { ...options, cacheDir: join(folder, "cache") }, nodeRuntime);
  const [name, shape] = ["model.layers.0.mlp.up_proj.weight", [64, 32]] as const;
  const session = await nodeRuntime.open(new Map([["w", held.weights(createStream(1, 2)).get(name, shape)]]), {
    threads: 1,
  });
  const found = (await session.run(new Map())).get("w")!.data as Float32Array;
  await session.close();
  expect(relativeError(found, settled.model.read(name, shape))).toBeLessThan(0.02);
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
