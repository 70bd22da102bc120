/** Writing GGUF files (version 3, little-endian), one tensor in memory at a time. */

import { FormatError } from "../errors.ts";
import { writeFileAtomic } from "./atomic.ts";

export interface GgufTensor {
  /** As PyTorch has it; ggml's extents are the reverse. */
  readonly shape: readonly number[];
  /** ggml's number of the element type. */
  readonly type: number;
  readonly byteLength: number;
  /** Called when its turn to be written comes. */
  bytes(): Uint8Array;
}

/** A metadata value. */
export type GgufScalar =
  | string
  | boolean
  | { readonly f32: number }
  | { readonly u32: number }
  | { readonly texts: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly f32s: readonly number[] };

const ALIGNMENT = 32;
const NAME_LIMIT = 63;
/** Numbers of value types. */
const [U32, I32, F32, BOOL, TEXT, ARRAY] = [4, 5, 6, 7, 8, 9];

/** A tensor of float32 numbers in memory. */
export function plainTensor(shape: readonly number[], data: Float32Array): GgufTensor {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { shape, type: 0, byteLength: bytes.byteLength, bytes: () => bytes };
}

/** Writes atomically, tensors in their order. Throws FormatError for names that ggml has no room for. */
export function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufScalar>,
  tensors: ReadonlyMap<string, GgufTensor>,
): void {
  const parts: Uint8Array[] = [Buffer.from("GGUF"), u32(3), u64(tensors.size), u64(metadata.size)];
  for (const [key, value] of metadata) parts.push(text(key), ...encoded(value));
  let offset = 0;
  for (const [name, { shape, type, byteLength }] of tensors) {
    if (Buffer.byteLength(name) > NAME_LIMIT)
      throw new FormatError(`internal: ${path}: ${name} is longer than ggml's names`);
    parts.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(type), u64(offset));
    offset += padded(byteLength);
  }
  const header = Buffer.concat(parts);
  const fill = (bytes: number): Buffer => Buffer.alloc(padded(bytes) - bytes);
  function* chunks(): Generator<Uint8Array> {
    yield header;
    yield fill(header.byteLength);
    for (const [name, { byteLength, bytes }] of tensors) {
      const data = bytes();
      if (data.byteLength !== byteLength)
        throw new FormatError(`internal: ${path}: ${name} has ${data.byteLength} bytes, its header says ${byteLength}`);
      yield data;
      yield fill(byteLength);
    }
  }
  writeFileAtomic(path, chunks());
}

/** A value with its type before it. */
function encoded(value: GgufScalar): Uint8Array[] {
  if (typeof value === "string") return [u32(TEXT), text(value)];
  if (typeof value === "boolean") return [u32(BOOL), Uint8Array.of(value ? 1 : 0)];
  if ("f32" in value) return [u32(F32), bytesOf(Float32Array.of(value.f32))];
  if ("u32" in value) return [u32(U32), u32(value.u32)];
  const array = (type: number, count: number): Uint8Array[] => [u32(ARRAY), u32(type), u64(count)];
  if ("texts" in value) return [...array(TEXT, value.texts.length), ...value.texts.map(text)];
  if ("i32s" in value) return [...array(I32, value.i32s.length), bytesOf(Int32Array.from(value.i32s))];
  return [...array(F32, value.f32s.length), bytesOf(Float32Array.from(value.f32s))];
}

function bytesOf(array: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer);
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
