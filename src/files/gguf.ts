/**
 * GGUF files, llama.cpp's format of models and adapters: metadata and where each tensor lies.
 * Source: github.com/ggml-org/ggml `docs/gguf.md`. Strict where that document says "must".
 */

import { fstatSync, realpathSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { quoteName } from "./quote.ts";
import { readExactly, withFile, withReadErrors } from "./read-file.ts";
import type { TensorEntry } from "./safetensors-header.ts";
import { STORED_TYPES } from "./safetensors-types.ts";
import type { ReadAt } from "./zip.ts";

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

export interface GgufFile {
  /** The file itself, symbolic links followed. */
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the order of the file, with shapes as PyTorch has them: ggml's extents reversed. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

interface BlockType {
  readonly name: string;
  /** Elements and bytes of a block. */
  readonly elements: number;
  readonly bytes: number;
}

/** ggml's tensor types by number. */
const TYPES: ReadonlyMap<number, BlockType> = new Map(
  (
    [
      [0, "F32", 1, 4],
      [1, "F16", 1, 2],
      [2, "Q4_0", 32, 18],
      [3, "Q4_1", 32, 20],
      [6, "Q5_0", 32, 22],
      [7, "Q5_1", 32, 24],
      [8, "Q8_0", 32, 34],
      [10, "Q2_K", 256, 84],
      [11, "Q3_K", 256, 110],
      [12, "Q4_K", 256, 144],
      [13, "Q5_K", 256, 176],
      [14, "Q6_K", 256, 210],
      [24, "I8", 1, 1],
      [25, "I16", 1, 2],
      [26, "I32", 1, 4],
      [27, "I64", 1, 8],
      [28, "F64", 1, 8],
      [30, "BF16", 1, 2],
    ] as const
  ).map(([id, name, elements, bytes]) => [id, { name, elements, bytes }]),
);

/** Bytes of a metadata value by its type's number: the least for texts and arrays. */
const VALUE_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
const [TEXT, ARRAY] = [8, 9];
const MAGIC = 0x46554747;
const DEFAULT_ALIGNMENT = 32;
const COUNT_LIMIT = 1_000_000;
/** ggml's own limits. */
const NAME_LIMIT = 63;
const RANK_LIMIT = 4;
const KEY_LIMIT = 65535;
const WINDOW = 1 << 20;

/** Reads and checks everything but the tensors' data. Throws FormatError for a damaged file. */
export function openGguf(path: string): GgufFile {
  const real = withReadErrors(path, () => realpathSync(path));
  return withFile(real, (file) => {
    const size = fstatSync(file).size;
    return parse(real, size, (offset, length) => readExactly(file, real, offset, length));
  });
}

/** As `openGguf`, for a file in memory; `name` stands for its path. */
export function parseGguf(bytes: Uint8Array, name: string): GgufFile {
  return parse(name, bytes.byteLength, (offset, length) => bytes.subarray(offset, offset + length));
}

type Fail = (problem: string) => never;

/** Reads numbers one after another. */
interface Cursor {
  readonly fail: Fail;
  position(): number;
  u32(): number;
  u64(): number;
  text(limit: number): string;
  value(type: number): GgufValue;
}

function parse(path: string, size: number, readAt: ReadAt): GgufFile {
  const fail: Fail = (problem) => {
    throw new FormatError(`${path}: ${problem}. Download the file again or convert it anew.`);
  };
  const cursor = cursorOver(size, readAt, fail);
  if (size < 24) fail(`the file has ${size} bytes, GGUF needs at least 24`);
  if (cursor.u32() !== MAGIC) fail("it does not begin with GGUF");
  const version = cursor.u32();
  if (version !== 2 && version !== 3) fail(`GGUF version ${version}, needed 2 or 3 (little-endian)`);
  const [tensorCount, valueCount] = [cursor.u64(), cursor.u64()];
  if (tensorCount > COUNT_LIMIT || valueCount > COUNT_LIMIT) {
    fail(`it claims ${tensorCount} tensors and ${valueCount} metadata values, at most ${COUNT_LIMIT} are read`);
  }
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; i++) {
    const key = cursor.text(KEY_LIMIT);
    if (key === "" || metadata.has(key)) fail(`the metadata key ${quoteName(key)} is empty or there twice`);
    metadata.set(key, cursor.value(cursor.u32()));
  }
  const alignment = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== "number" || !Number.isInteger(Math.log2(alignment)) || alignment < 8) {
    return fail(`general.alignment is ${String(alignment)}, needed a power of 2 from 8 up`);
  }
  return { path, metadata, tensors: readTensorInfos(cursor, { path, size, alignment, tensorCount }) };
}

function readTensorInfos(
  cursor: Cursor,
  { path, size, alignment, tensorCount }: { path: string; size: number; alignment: number; tensorCount: number },
): Map<string, TensorEntry> {
  const { fail } = cursor;
  const tensors = new Map<string, TensorEntry>();
  let expected = 0; // bytes of data so far
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.text(NAME_LIMIT);
    const what = `tensor ${quoteName(name)}`;
    if (tensors.has(name)) fail(`${what} is there twice`);
    const rank = cursor.u32();
    if (rank > RANK_LIMIT) fail(`${what} has ${rank} axes, ggml has at most ${RANK_LIMIT}`);
    const extents = Array.from({ length: rank }, () => cursor.u64());
    const id = cursor.u32();
    const type = TYPES.get(id) ?? fail(`${what} has the type ${id}, which is not known`);
    const offset = cursor.u64();
    const elements = extents.reduce((product, extent) => product * extent, 1);
    if (extents.some((extent) => extent < 1) || !Number.isSafeInteger(elements))
      fail(`${what} has extents [${extents}]`);
    if ((extents[0] ?? 1) % type.elements !== 0) {
      fail(`${what}: rows of ${extents[0] ?? 1} do not fill blocks of ${type.elements} (${type.name})`);
    }
    if (offset !== expected) fail(`${what} begins at data byte ${offset}, needed ${expected}`);
    const byteLength = (elements / type.elements) * type.bytes;
    expected = padded(offset + byteLength, alignment);
    const dtype = STORED_TYPES.get(type.name)?.dtype ?? null;
    tensors.set(name, { name, dtype, storedType: type.name, shape: extents.reverse(), path, offset, byteLength });
  }
  const start = padded(cursor.position(), alignment);
  return new Map(
    [...tensors].map(([name, entry]) => {
      const offset = start + entry.offset;
      if (offset + entry.byteLength > size) {
        fail(
          `tensor ${quoteName(name)} needs bytes up to ${offset + entry.byteLength}, the file has ${size}: it is cut short`,
        );
      }
      return [name, { ...entry, offset }];
    }),
  );
}

function padded(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

function cursorOver(size: number, readAt: ReadAt, fail: Fail): Cursor {
  let window = new Uint8Array(0);
  let from = 0; // byte of the file at which the window begins
  let at = 0;
  /** A view of the next `count` bytes. */
  const take = (count: number): DataView => {
    if (count > size - at) return fail(`it ends at byte ${size}, but its header needs ${count} bytes at ${at}`);
    if (at + count > from + window.byteLength) {
      from = at;
      window = new Uint8Array(readAt(at, Math.min(size - at, Math.max(WINDOW, count))));
    }
    at += count;
    return new DataView(window.buffer, window.byteOffset + at - count - from, count);
  };
  const u32 = (): number => take(4).getUint32(0, true);
  const u64 = (): number => {
    const value = take(8).getBigUint64(0, true);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : fail(`byte ${at - 8}: ${value} is too large`);
  };
  const text = (limit: number): string => {
    const length = u64();
    if (length > limit) return fail(`byte ${at - 8}: a text of ${length} bytes, at most ${limit} are allowed`);
    const view = take(length);
    try {
      const bytes = new Uint8Array(view.buffer, view.byteOffset, length);
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return fail(`byte ${at - length}: a text is not valid UTF-8`);
    }
  };
  const array = (): GgufValue[] => {
    const type = u32();
    const count = u64();
    const least = VALUE_BYTES[type];
    if (least === undefined || type === ARRAY) return fail(`byte ${at}: an array of the value type ${type}`);
    if (count * least > size - at) return fail(`byte ${at}: an array of ${count} values does not fit into the file`);
    return Array.from({ length: count }, () => value(type));
  };
  const value = (type: number): GgufValue => {
    if (type === TEXT) return text(size);
    if (type === ARRAY) return array();
    const bytes = VALUE_BYTES[type];
    if (bytes === undefined) return fail(`byte ${at}: ${type} is no value type`);
    const view = take(bytes);
    return SCALARS[type]!(view) ?? fail(`byte ${at - 1}: a truth value is neither 0 nor 1`);
  };
  return { fail, position: () => at, u32, u64, text, value };
}

const SCALARS: readonly ((view: DataView) => number | bigint | boolean | null)[] = [
  (view) => view.getUint8(0),
  (view) => view.getInt8(0),
  (view) => view.getUint16(0, true),
  (view) => view.getInt16(0, true),
  (view) => view.getUint32(0, true),
  (view) => view.getInt32(0, true),
  (view) => view.getFloat32(0, true),
  (view) => (view.getUint8(0) > 1 ? null : view.getUint8(0) === 1),
  () => null, // texts and arrays are read elsewhere
  () => null,
  (view) => view.getBigUint64(0, true),
  (view) => view.getBigInt64(0, true),
  (view) => view.getFloat64(0, true),
];
