/** Writing GGUF files (version 3, little-endian): float32 tensors and plain metadata, as adapters need them. */

import { FormatError } from "../errors.ts";
import { writeFileAtomic } from "./atomic.ts";

export interface GgufTensor {
  /** As PyTorch has it; ggml's extents are the reverse. */
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A metadata value: texts, float32 numbers and uint32 numbers. */
export type GgufScalar = string | { readonly f32: number } | { readonly u32: number };

const ALIGNMENT = 32;
const NAME_LIMIT = 63;

/** Writes atomically, tensors in their order. Throws FormatError for names that ggml has no room for. */
export function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufScalar>,
  tensors: ReadonlyMap<string, GgufTensor>,
): void {
  const parts: Buffer[] = [Buffer.from("GGUF"), u32(3), u64(tensors.size), u64(metadata.size)];
  for (const [key, value] of metadata) {
    parts.push(text(key));
    if (typeof value === "string") parts.push(u32(8), text(value));
    else if ("f32" in value) {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(value.f32);
      parts.push(u32(6), bytes);
    } else parts.push(u32(4), u32(value.u32));
  }
  let offset = 0;
  for (const [name, { shape, data }] of tensors) {
    if (Buffer.byteLength(name) > NAME_LIMIT)
      throw new FormatError(`internal: ${path}: ${name} is longer than ggml's names`);
    parts.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(0), u64(offset));
    offset += padded(data.byteLength);
  }
  const header = Buffer.concat(parts);
  const fill = (bytes: number): Buffer => Buffer.alloc(padded(bytes) - bytes);
  const chunks = [...tensors.values()].flatMap(({ data }) => [
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    fill(data.byteLength),
  ]);
  writeFileAtomic(path, [header, fill(header.byteLength), ...chunks]);
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.byteLength), bytes]);
}
