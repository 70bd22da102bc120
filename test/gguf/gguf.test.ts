import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { loadBase } from "../../src/generate/load.ts";
import { blockSteps, dequantiseGguf, isBlocked, quantiseEight, READABLE, stepsFormat } from "../../src/gguf/blocks.ts";
import { unpackGguf } from "../../src/gguf/unpack.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import { trainHere } from "../../src/train/train.ts";

const at = (name: string): string => join(import.meta.dirname, name);
const cacheDir = mkdtempSync(join(tmpdir(), "lowrank-gguf-"));
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
const floatsOf = (text: string): Float32Array => new Float32Array(bytesOf(text).buffer);

const blocks = JSON.parse(readFileSync(at("blocks.json"), "utf8")) as Record<string, { bytes: string; values: string }>;

test.each(Object.keys(blocks).filter((name) => READABLE.includes(name)))(
  "%s: the numbers of gguf.quants, bit for bit",
  (storedType) => {
    const { bytes, values } = blocks[storedType]!;
    const entry = { name: "t", storedType, path: "file.gguf", dtype: null, shape: [], offset: 0, byteLength: 0 };
    const found = dequantiseGguf(entry, bytesOf(bytes));
    expect(Buffer.from(found.buffer).equals(Buffer.from(floatsOf(values).buffer))).toBe(true);
  },
);

test.each(Object.keys(blocks).filter(isBlocked))("%s: its codes stand for the same numbers", (storedType) => {
  const { bytes, values } = blocks[storedType]!;
  const { bits, block, codes, scales, offsets } = blockSteps(storedType, bytesOf(bytes));
  expect({ bits, block, offset: offsets !== null }).toEqual(stepsFormat(storedType));
  floatsOf(values).forEach((value, i) => {
    const code = bits === 8 ? codes[i]! - 128 : ((codes[i >> 1]! >> (4 * (i & 1))) & 15) - 8;
    const at = Math.floor(i / block);
    const found = code * scales[at]! + (offsets?.[at] ?? 0);
    expect(Math.abs(found - value)).toBeLessThanOrEqual(1e-6 * (Math.abs(8 * scales[at]!) + Math.abs(value)));
  });
});

test("Q8_0 is written as gguf.quants writes it", () => {
  const { bytes, values } = blocks["quantised Q8_0"]!;
  expect(Buffer.from(quantiseEight(floatsOf(values))).toString("base64")).toBe(bytes);
});

interface Expected {
  readonly ids: number[][];
  /** Scores behind the last token of each row. */
  readonly last: number[][];
}

const models = JSON.parse(readFileSync(at("models/expected.json"), "utf8")) as Record<string, Expected>;

test.each(Object.keys(models))("%s: transformers' logits from the GGUF file", async (name) => {
  const { ids, last } = models[name]!;
  const base = await loadBase(at(`models/${name}.gguf`), { threads: 1, cacheDir }, nodeRuntime);
  for (const [row, tokens] of ids.entries()) {
    const logits = await base.logits(tokens);
    const found = logits.slice(-64);
    last[row]!.forEach((value, i) => {
      expect(Math.abs(found[i]! - value)).toBeLessThan(1e-4);
    });
  }
  await base.close();
});

test("tokenizers: SentencePiece's merges by score, bytes behind them, <s> before", () => {
  const tokenizer = loadTokenizer(unpackGguf(at("models/llama.gguf"), cacheDir))!;
  const ids = tokenizer.encode("abc ab", { special: true });
  expect([...ids]).toEqual([1, 10, 3, 7]);
  expect(tokenizer.decode(ids, { skipSpecial: true })).toBe("abc ab");
  expect([...tokenizer.encode("\u0001", { special: false })]).toEqual([3, 13]);
  expect(tokenizer.endId).toBe(2);
});

test("tokenizers: byte-level merges, special tokens and the template", () => {
  const tokenizer = loadTokenizer(unpackGguf(at("models/gpt2.gguf"), cacheDir))!;
  expect([...tokenizer.encode("ab ab<|end|>", { special: false })]).toEqual([5, 6, 0]);
  expect(tokenizer.specialIds).toEqual(new Set([0]));
  expect(tokenizer.chatTemplate).toContain("m['content']");
});

test("an adapter trains on a GGUF file", async () => {
  const data = join(cacheDir, "rows.jsonl");
  writeFileSync(data, `${JSON.stringify({ text: "ab ab ab c" })}\n`.repeat(4));
  const events: TrainEvent[] = [];
  const input = { model: at("models/qwen2.gguf"), data, out: join(cacheDir, "out"), maxSteps: 3, lr: 0.05, cacheDir };
  for await (const event of trainHere({ ...input, scheduler: "constant" }, { runtime: nodeRuntime }))
    events.push(event);
  const losses = events.flatMap((event) => (event.event === "step" ? [event.loss] : []));
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
});

test("what is no model that is known is refused by name", () => {
  const bytes = readFileSync(at("models/qwen2.gguf"));
  const edited = (from: string, to: string): string => {
    const copy = Buffer.from(bytes);
    copy.write(to, copy.indexOf(from));
    const path = join(cacheDir, "edited.gguf");
    writeFileSync(path, copy);
    return path;
  };
  expect(() => unpackGguf(edited("qwen2", "qwenX"), cacheDir)).toThrow('general.architecture is "qwenX"; models of');
  expect(() => unpackGguf(edited("blk.1.attn_q.bias", "blk.1.attn_q.bios"), cacheDir)).toThrow("blk.1.attn_q.bios");
  expect(() => unpackGguf(edited("block_count", "block_counX"), cacheDir)).toThrow("qwen2.block_count is missing");
  expect(() => unpackGguf(edited("general.type", "general.typX"), cacheDir)).not.toThrow();
  cpSync(at("../convert/files/llama.gguf"), join(cacheDir, "adapter.gguf"));
  expect(() => unpackGguf(join(cacheDir, "adapter.gguf"), cacheDir)).toThrow("is an adapter, needed a model");
});
