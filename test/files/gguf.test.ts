import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FormatError } from "../../src/errors.ts";
import { parseGguf } from "../../src/files/gguf.ts";
import { randomStream } from "../../src/tensor/random.ts";

const bytes = readFileSync(join(import.meta.dirname, "../convert/files/llama.gguf"));

function refusal(edited: Uint8Array): string {
  try {
    parseGguf(edited, "file.gguf");
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return (error as FormatError).message;
  }
  return "opened";
}

function edited(edit: (copy: Buffer) => void): string {
  const copy = Buffer.from(bytes);
  edit(copy);
  return refusal(copy);
}

/** A file of one metadata value or tensor given by hand. */
function crafted({ version = 3, values = [] as Buffer[], tensors = [] as Buffer[], data = 0 }): string {
  const head = Buffer.alloc(24);
  head.write("GGUF");
  head.writeUInt32LE(version, 4);
  head.writeBigUInt64LE(BigInt(tensors.length), 8);
  head.writeBigUInt64LE(BigInt(values.length), 16);
  const parts = Buffer.concat([head, ...values, ...tensors]);
  return refusal(Buffer.concat([parts, Buffer.alloc(Math.ceil(parts.length / 32) * 32 - parts.length + data)]));
}
const u32 = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint): Buffer => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string): Buffer => Buffer.concat([u64(value.length), Buffer.from(value)]);
const tensor = (name: string, extents: readonly (number | bigint)[], type: number, offset: number): Buffer =>
  Buffer.concat([text(name), u32(extents.length), ...extents.map(u64), u32(type), u64(offset)]);
const value = (key: string, type: number, ...parts: readonly Buffer[]): Buffer =>
  Buffer.concat([text(key), u32(type), ...parts]);

test("metadata and tensors of a file that gguf-py wrote", () => {
  const { metadata, tensors } = parseGguf(bytes, "file.gguf");
  expect(metadata.get("general.tags")).toEqual(["a", "b"]);
  expect(metadata.get("adapter.lora.alpha")).toBe(3);
  expect(tensors.get("blk.0.attn_q.weight.lora_b")).toMatchObject({ dtype: "f32", shape: [16, 2], byteLength: 128 });
  expect(tensors.get("blk.0.ffn_down.weight.lora_a")).toMatchObject({ dtype: "f16", shape: [2, 6] });
});

test("hand-made damage is named, as llama.cpp's own test-gguf.cpp has it", () => {
  expect(edited((copy) => copy.write("GGML"))).toContain("does not begin with GGUF");
  for (const version of [0, 1, 4, 0x03000000]) expect(crafted({ version })).toContain(`version ${version}`);
  expect(edited((copy) => copy.fill(255, 8, 16))).toContain("is too large");
  expect(edited((copy) => copy.writeUInt32LE(2e6, 16))).toContain("at most 1000000 are read");
  expect(crafted({ values: [value("", 4, u32(1))] })).toContain("is empty or there twice");
  expect(crafted({ values: [value("a", 4, u32(1)), value("a", 4, u32(1))] })).toContain('"a" is empty or there twice');
  expect(crafted({ values: [value("a", 13)] })).toContain("13 is no value type");
  expect(crafted({ values: [value("a", 7, Buffer.of(2))] })).toContain("neither 0 nor 1");
  expect(crafted({ values: [value("a", 9, u32(4), u64(2 ** 40))] })).toContain("does not fit into the file");
  expect(crafted({ values: [value("a", 9, u32(9), u64(1))] })).toContain("an array of the value type 9");
  expect(crafted({ values: [value("a", 8, u64(2 ** 40))] })).toContain("at most");
  expect(crafted({ values: [value("general.alignment", 4, u32(13))] })).toContain("alignment is 13");
  expect(crafted({ values: [value("general.alignment", 8, text("x"))] })).toContain("alignment is x");
  const [one] = [tensor("a", [4], 0, 0)];
  expect(crafted({ tensors: [one], data: 16 })).toBe("opened");
  expect(crafted({ tensors: [one], data: 15 })).toContain("cut short");
  expect(crafted({ tensors: [one, one], data: 32 })).toContain('"a" is there twice');
  expect(crafted({ tensors: [tensor("n".repeat(64), [4], 0, 0)], data: 16 })).toContain("at most 63");
  expect(crafted({ tensors: [tensor("a", [1, 1, 1, 1, 1], 0, 0)], data: 16 })).toContain("5 axes");
  expect(crafted({ tensors: [tensor("a", [0], 0, 0)], data: 16 })).toContain("has extents [0]");
  expect(crafted({ tensors: [tensor("a", [2 ** 40, 2 ** 40], 0, 0)], data: 16 })).toContain("has extents");
  expect(crafted({ tensors: [tensor("a", [2n ** 63n], 0, 0)], data: 16 })).toContain("is too large");
  expect(crafted({ tensors: [tensor("a", [4], 99, 0)], data: 16 })).toContain("the type 99");
  expect(crafted({ tensors: [tensor("a", [33], 8, 0)], data: 64 })).toContain("do not fill blocks of 32 (Q8_0)");
  expect(crafted({ tensors: [tensor("a", [4], 0, 32)], data: 64 })).toContain("begins at data byte 32, needed 0");
});

test("files cut at every place, and 2 000 mutated ones: only FormatErrors", () => {
  const ends = [...parseGguf(bytes, "f").tensors.values()].map(({ offset, byteLength }) => offset + byteLength);
  for (let length = 0; length < Math.max(...ends); length += 5)
    expect(refusal(bytes.subarray(0, length))).not.toBe("opened");
  const random = randomStream(7);
  for (let i = 0; i < 2000; i++) {
    const copy = Buffer.from(bytes);
    for (let edits = 1 + random.integer(6); edits > 0; edits--) copy[random.integer(900)] = random.integer(256);
    try {
      for (const { offset, byteLength } of parseGguf(copy, "f").tensors.values()) {
        expect(offset + byteLength).toBeLessThanOrEqual(copy.length);
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
});
