/** Bases computed from the blocks of their GGUF file, beside the floats that the blocks stand for. */

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { UsageError } from "../../src/errors.ts";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { type GgufScalar, type GgufTensor, plainTensor, writeGguf } from "../../src/files/gguf-writer.ts";
import { loadBase } from "../../src/generate/load.ts";
import type { Precision } from "../../src/precision/precision.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { toHalf } from "../../src/tensor/half.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-native-"));
const cacheDir = join(folder, "cache");
const mixed = join(folder, "mixed.gguf");
const data = join(folder, "rows.jsonl");
const random = randomStream(1);
const [V, C, LAYERS] = [48, 256, 2];

/** ggml's number of a type, elements and bytes of a block, and where its 16-bit scales are, with their sizes. */
type Kind = readonly [type: number, elements: number, bytes: number, scales: readonly (readonly [number, number])[]];
const KINDS: readonly Kind[] = [
  [2, 32, 18, [[0, 0.02]]],
  [3, 32, 20, [[0, 0.02], [2, -0.15]]], // biome-ignore format: a row a type
  [6, 32, 22, [[0, 0.01]]],
  [7, 32, 24, [[0, 0.01], [2, -0.15]]], // biome-ignore format: a row a type
  [8, 32, 34, [[0, 0.001]]],
  [12, 256, 144, [[0, 0.0005], [2, 0.004]]], // biome-ignore format: a row a type
  [13, 256, 176, [[0, 0.0003], [2, 0.004]]], // biome-ignore format: a row a type
  [14, 256, 210, [[208, 0.00006]]],
];

function blocks([type, elements, size, scales]: Kind, rows: number, columns: number): GgufTensor {
  const count = (rows * columns) / elements;
  const bytes = new Uint8Array(count * size).map(() => 256 * random.uniform());
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < count; block++) {
    for (const [at, scale] of scales) view.setUint16(block * size + at, toHalf(scale * (0.5 + random.uniform())), true);
  }
  return { shape: [rows, columns], type, byteLength: bytes.length, bytes: () => bytes };
}

const floats = (shape: readonly number[], gain: number): GgufTensor => {
  const count = shape.reduce((product, extent) => product * extent);
  return plainTensor(
    shape,
    Float32Array.from({ length: count }, () => gain + 0.2 * random.normal()),
  );
};

function writeMixed(): void {
  const whole = (key: string, u32: number): [string, GgufScalar] => [`llama.${key}`, { u32 }];
  const metadata = new Map<string, GgufScalar>([
    ["general.architecture", "llama"],
    whole("context_length", 64),
    whole("embedding_length", C),
    whole("block_count", LAYERS),
    whole("feed_forward_length", 2 * C),
    whole("attention.head_count", 4),
    whole("attention.head_count_kv", 2),
    ["llama.attention.layer_norm_rms_epsilon", { f32: 1e-5 }],
  ]);
  const tensors = new Map<string, GgufTensor>([
    ["token_embd.weight", floats([V, C], 0)],
    ["output_norm.weight", floats([C], 1)],
  ]);
  const shapes = {
    attn_q: [C, C],
    attn_k: [C / 2, C],
    attn_v: [C / 2, C],
    attn_output: [C, C],
    ffn_gate: [2 * C, C],
    ffn_up: [2 * C, C],
    ffn_down: [C, 2 * C],
  } as const;
  let next = 0;
  for (let layer = 0; layer < LAYERS; layer++) {
    for (const norm of ["attn_norm", "ffn_norm"]) tensors.set(`blk.${layer}.${norm}.weight`, floats([C], 1));
    for (const [name, [rows, columns]] of Object.entries(shapes)) {
      tensors.set(`blk.${layer}.${name}.weight`, blocks(KINDS[next++ % KINDS.length]!, rows, columns));
    }
  }
  writeGguf(mixed, metadata, tensors);
}

writeMixed();
const rows = [0, 1, 2, 3].map((row) => Array.from({ length: 12 }, (_, i) => (5 * i + 7 * row) % V));
writeFileSync(data, rows.map((ids) => `${JSON.stringify({ input_ids: ids, labels: ids })}\n`).join(""));

// Rows of q and k in llama.cpp's order; matrices that GGUF turns, with biases; every type of blocks.
const MODELS = ["llama", "gpt2"].map((name) => join(import.meta.dirname, `../gguf/models/${name}.gguf`));

test.each([...MODELS, mixed].map((path) => [basename(path), path] as const))(
  "%s: evaluates and trains as the floats do",
  async (_name, model) => {
    const at = async (precision: Precision): Promise<number[]> => {
      const { loss } = await evaluateHere({ model, data, precision, cacheDir }, nodeRuntime);
      const losses = [loss];
      const out = join(folder, `${precision}-${model.length}`);
      const input = {
        model,
        data,
        out,
        precision,
        cacheDir,
        batchSize: 2,
        maxSteps: 3,
        lr: 5e-3,
        shuffle: false,
      } as const;
      const fields = { target_modules: "all-linear", r: 4 };
      for await (const event of trainHere({ ...input, adapterFields: fields }, { runtime: nodeRuntime })) {
        if (event.event === "step") losses.push(event.loss);
      }
      return losses;
    };
    const [native, float] = [await at("native"), await at("fp32")];
    expect(native.length).toBe(4);
    native.forEach((loss, i) => {
      expect(Math.abs(loss - float[i]!)).toBeLessThan(2e-5 * float[i]!);
    });
  },
);

test("it generates by kernels that round activations to eight bits", async () => {
  const scores = async (precision: Precision): Promise<Float32Array> => {
    const base = await loadBase(mixed, { precision, cacheDir, threads: 1 }, nodeRuntime);
    const logits = await base.logits(rows[1]!);
    const { tokenIds } = await base.complete({ tokenIds: rows[1]!, maxTokens: 4, ignoreEnd: true });
    await base.close();
    expect(tokenIds.length).toBe(4);
    return logits;
  };
  const [native, float] = [await scores("native"), await scores("fp32")];
  const size = Math.sqrt(float.reduce((sum, value) => sum + value * value, 0));
  const error = Math.sqrt(float.reduce((sum, value, i) => sum + (value - native[i]!) ** 2, 0));
  expect(error / size).toBeLessThan(0.08); // random weights pass every rounding on
  expect(error).toBeGreaterThan(0);
});

test("a folder has no blocks", async () => {
  const model = join(caseFolder("llama-gqa-tied"), "model");
  await expect(evaluateHere({ model, data, precision: "native" }, nodeRuntime)).rejects.toThrow(UsageError);
});
