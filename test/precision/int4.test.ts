import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { dequantiseGguf } from "../../src/gguf/blocks.ts";
import {
  blockFormat,
  dequantiseBlocks,
  NORMAL_FLOATS,
  QUANT_TYPES,
  quantiseBlocks,
} from "../../src/precision/blocks.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";

import { toHalf } from "../../src/tensor/half.ts";
import { randomStream } from "../../src/tensor/random.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";
import { dequantised } from "./dequantised.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-int4-"));
const cacheDir = join(folder, "cache");

async function run(input: TrainInput): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of trainHere(input, { runtime: nodeRuntime })) events.push(event);
  return events;
}

const losses = (events: readonly TrainEvent[]): number[] =>
  events.flatMap((each) => (each.event === "step" ? [each.loss] : []));

// Conv1D with biases; grouped queries; DoRA's norms of the base; biases and a new head; fused projections.
const CASES = ["gpt2-all-linear-rslora", "llama-untied-patterns", "llama-dora", "roberta-seqcls", "phi3"];

test.each(CASES.flatMap((name) => QUANT_TYPES.map((type) => [name, type] as const)))(
  "%s in %s trains as its dequantised copy does in float32",
  async (name, quantType) => {
    const at = caseFolder(name);
    const common = {
      initAdapter: join(at, "adapter"),
      data: join(at, "data.jsonl"),
      batchSize: 2,
      maxSteps: 3,
      lr: 5e-3,
      scheduler: "constant",
      shuffle: false,
      cacheDir,
    } as const;
    const out = join(folder, `out-${name}-${quantType}`);
    const model = join(at, "model");
    const held = losses(await run({ ...common, model, precision: "int4", quantType, out: `${out}-4` }));
    const float = losses(await run({ ...common, model: await dequantised(name, quantType, folder), out: `${out}-32` }));
    held.forEach((loss, i) => {
      expect(loss).toBeCloseTo(float[i]!, 4);
    });
  },
);

test("a run on four bits goes on exactly, and evaluates on them", async () => {
  const at = caseFolder("llama-untied-patterns");
  const common = {
    model: join(at, "model"),
    data: join(at, "data.jsonl"),
    batchSize: 2,
    precision: "int4",
    quantType: "nf4",
    saveSteps: 2,
    cacheDir,
  } as const;
  const out = join(folder, "whole");
  const whole = losses(await run({ ...common, out, maxSteps: 4, scheduler: "constant" }));
  const half = { ...common, out: join(folder, "half"), scheduler: "constant" } as const;
  const first = losses(await run({ ...half, maxSteps: 2 }));
  const second = losses(await run({ ...half, maxSteps: 4, resume: true }));
  expect([...first, ...second]).toEqual(whole);
  await expect(run({ ...half, maxSteps: 4, resume: true, quantType: "int4" })).rejects.toThrow(/quantType/);
  const { model, data, precision } = common;
  const adapters = [{ name: "a", path: out, weight: 1 }];
  const nf4 = await evaluateHere({ model, data, adapters, precision, quantType: "nf4", cacheDir }, nodeRuntime);
  const float = await evaluateHere({ model, data, adapters }, nodeRuntime);
  expect(nf4.loss).not.toBe(float.loss);
  expect(Math.abs(nf4.loss - float.loss)).toBeLessThan(0.05 * float.loss);
});

test("blocks hold their numbers as closely as four bits can", () => {
  const random = randomStream(1);
  const values = Float32Array.from({ length: 64 * 100 }, () => random.normal());
  const errors = QUANT_TYPES.map((type) => {
    const format = blockFormat(type, 64)!;
    const back = dequantiseBlocks(quantiseBlocks(values, format), format);
    return Math.sqrt(back.reduce((sum, value, i) => sum + (value - values[i]!) ** 2, 0) / values.length);
  });
  expect(errors[0]).toBeLessThan(0.078); // even steps, 32 a block
  expect(errors[1]).toBeLessThan(0.096); // quantiles, 64 a block
});

test("numbers that lie on steps, constants and zeros are held exactly", () => {
  const steps = Float32Array.from({ length: 32 }, (_, i) => 0.5 + 0.25 * (i % 16));
  const format = { type: "int4", block: 32 } as const;
  const values = Float32Array.of(...steps, ...new Float32Array(32).fill(3), ...new Float32Array(32));
  expect(dequantiseBlocks(quantiseBlocks(values, format), format)).toEqual(values);
  const quantiles = Float32Array.from({ length: 64 }, (_, i) => NORMAL_FLOATS[i % 16]! * 2);
  const nf4 = { type: "nf4", block: 64 } as const;
  expect(dequantiseBlocks(quantiseBlocks(quantiles, nf4), nf4)).toEqual(quantiles);
  expect(dequantiseBlocks(quantiseBlocks(new Float32Array(64), nf4), nf4)).toEqual(new Float32Array(64));
});

test.each([
  ["Q4_0", 18, 0],
  ["Q4_1", 20, 0.37],
])("what GGUF's %s stands for is held as it is", (storedType, bytes, least) => {
  const random = randomStream(3);
  const blocks = new Uint8Array(200 * bytes).map(() => 256 * random.uniform());
  for (let block = 0; block < 200; block++) {
    const view = new DataView(blocks.buffer, block * bytes);
    view.setUint16(0, toHalf(0.01 * (1 + random.uniform())), true);
    if (least) view.setUint16(2, toHalf(-least * random.uniform()), true);
    // Few codes, far apart or side by side: the ends of the range need not be among them.
    if (block % 4 === 0) blocks.fill(block % 8 ? 0x59 : 0xb9, block * bytes + bytes - 15, (block + 1) * bytes);
  }
  const entry = {
    name: "w",
    dtype: null,
    storedType,
    shape: [200, 32],
    path: "",
    offset: 0,
    byteLength: blocks.length,
  };
  const values = dequantiseGguf(entry, blocks);
  const format = { type: "int4", block: 32 } as const;
  const back = dequantiseBlocks(quantiseBlocks(values, format), format);
  values.forEach((value, i) => {
    expect(Math.abs(back[i]! - value)).toBeLessThan(1e-7);
  });
});

test("NF4 takes the nearest value", () => {
  const random = randomStream(2);
  const values = Float32Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 2 * random.uniform() - 1));
  const format = { type: "nf4", block: 64 } as const;
  const back = dequantiseBlocks(quantiseBlocks(values, format), format);
  values.forEach((value, i) => {
    const best = Math.min(...Array.from(NORMAL_FLOATS, (each) => Math.abs(each - value)));
    expect(Math.abs(back[i]! - value)).toBeCloseTo(best, 6);
  });
});

test("rows that no block fills stay as they are", () => {
  expect(blockFormat("nf4", 96)).toEqual({ type: "nf4", block: 32 });
  expect(blockFormat("int4", 48)).toEqual({ type: "int4", block: 16 });
  expect(blockFormat("int4", 40)).toBeNull();
});
