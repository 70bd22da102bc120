import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openGguf } from "../../src/files/gguf.ts";
import { openSafetensors, readTensor } from "../../src/files/safetensors.ts";
import { exportGguf } from "../../src/gguf/export.ts";
import { unpackGguf } from "../../src/gguf/unpack.ts";
import { mergeHere } from "../../src/merge/merge.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { trainHere } from "../../src/train/train.ts";

const at = (name: string): string => join(import.meta.dirname, "models", `${name}.gguf`);
const folder = mkdtempSync(join(tmpdir(), "lowrank-gguf-export-"));
const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, "utf8"));

function numbers(model: string): Map<string, Float32Array> {
  const { tensors } = openSafetensors(join(model, "model.safetensors"));
  return new Map([...tensors].map(([name, entry]) => [name, toFloat32(readTensor(entry))]));
}

test.each(["llama", "qwen2", "qwen3", "gemma", "gpt2"])(
  "%s: a folder written as GGUF and read back is the same",
  (name) => {
    const before = unpackGguf(at(name), folder);
    const out = join(folder, `${name}.gguf`);
    exportGguf(before, out, "f32");
    const after = unpackGguf(out, join(folder, "again"));
    expect(json(join(after, "config.json"))).toEqual(json(join(before, "config.json")));
    expect(json(join(after, "tokenizer.json"))).toEqual(json(join(before, "tokenizer.json")));
    const [found, needed] = [numbers(after), numbers(before)];
    expect(new Set(found.keys())).toEqual(new Set(needed.keys()));
    for (const [tensor, values] of needed) {
      // Gemma's gains go by way of adding 1 and taking it away again.
      found.get(tensor)!.forEach((value, i) => {
        expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(name === "gemma" ? 1e-7 : 0);
      });
    }
  },
);

test("a merged model is written in the types of the original file, with its metadata", async () => {
  const data = join(folder, "rows.jsonl");
  writeFileSync(data, `${JSON.stringify({ text: "ab ab ab c" })}\n`.repeat(4));
  const adapter = join(folder, "adapter");
  const input = { model: at("qwen2"), data, out: adapter, maxSteps: 3, lr: 0.05, cacheDir: folder };
  for await (const _event of trainHere({ ...input, adapterFields: {} }, { runtime: nodeRuntime }));
  const merge = (out: string, dtype: "f32" | "f16" | "q8_0"): ReturnType<typeof mergeHere> =>
    mergeHere(
      { model: at("qwen2"), adapters: [{ name: "a", path: adapter, weight: 1 }], out, dtype, cacheDir: folder },
      nodeRuntime,
    );
  mkdirSync(join(folder, "merged"));
  const [whole, half, eight] = [
    await merge(join(folder, "merged/whole.gguf"), "f32"),
    await merge(join(folder, "merged/half.gguf"), "f16"),
    await merge(join(folder, "merged/eight.gguf"), "q8_0"),
  ];
  expect(whole.maxAbsDiff).toBeLessThan(1e-4);
  expect(half.maxAbsDiff).toBeLessThan(0.2); // scores reach tens
  expect(eight.maxAbsDiff).toBeLessThan(3);
  expect(eight.maxAbsDiff).toBeGreaterThan(half.maxAbsDiff);
  expect(new Set(readdirSync(join(folder, "merged")))).toEqual(new Set(["eight.gguf", "half.gguf", "whole.gguf"]));
  const [file, original] = [openGguf(join(folder, "merged/eight.gguf")), openGguf(at("qwen2"))];
  for (const [key, value] of original.metadata) {
    if (key !== "general.name" && key !== "general.file_type") expect(file.metadata.get(key), key).toEqual(value);
  }
  expect(new Set(file.tensors.keys())).toEqual(new Set(original.tensors.keys()));
  expect(file.tensors.get("blk.0.attn_q.weight")!.storedType).toBe("Q8_0");
  expect(file.tensors.get("blk.0.attn_norm.weight")!.storedType).toBe("F32");
  await expect(merge(join(folder, "merged"), "q8_0")).rejects.toThrow("Name a file");
});
