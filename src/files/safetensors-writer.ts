/**
 * Writing safetensors files, byte for byte as the reference does, one tensor in memory at a time.
 * Source: github.com/huggingface/safetensors `safetensors/src/tensor.rs`, `prepare`.
 */

import { FormatError } from "../errors.ts";
import { byteLength, type DType, type TypedArray } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/shape.ts";
import { writeFileAtomic } from "./atomic.ts";
import { quoteName } from "./quote.ts";
import { STORED_TYPES } from "./safetensors-types.ts";

export interface WritableTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The elements as `Tensor` holds them, or a function that makes them when their turn to be written comes. */
  readonly data: TypedArray | (() => TypedArray);
}

interface Planned {
  readonly name: string;
  readonly utf8: Uint8Array;
  readonly storedType: string;
  readonly rank: number;
  readonly bytes: number;
  readonly tensor: WritableTensor;
}

const STORED_BY_DTYPE: ReadonlyMap<DType, { readonly storedType: string; readonly rank: number }> = new Map(
  [...STORED_TYPES].flatMap(([storedType, { dtype }], rank) => (dtype === null ? [] : [[dtype, { storedType, rank }]])),
);

/**
 * Writes a file atomically. The order of `tensors` does not matter: they are written, and functions called, by
 * descending alignment of their type, then by name, so equal content gives equal bytes. `metadata` is sorted by key
 * (the reference's order is random). Checkpoints for PyTorch users carry `{ format: "pt" }`.
 * Throws FormatError for a repeated or reserved name, a type without a safetensors name (4-bit), or data that does not
 * fit its shape; LowrankError when the disk refuses.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, WritableTensor]>,
  metadata?: Readonly<Record<string, string>>,
): void {
  const planned = plan(path, tensors);
  const header = encodeHeader(path, planned, metadata);
  writeFileAtomic(path, chunks(path, header, planned));
}

function plan(path: string, tensors: Iterable<readonly [string, WritableTensor]>): Planned[] {
  const names = new Set<string>();
  const planned: Planned[] = [];
  for (const [name, tensor] of tensors) {
    const what = `internal: ${path}: tensor ${quoteName(name)}`;
    if (name === "__metadata__" || names.has(name))
      throw new FormatError(`${what}: the name is reserved or used twice`);
    const stored = STORED_BY_DTYPE.get(tensor.dtype);
    if (stored === undefined) throw new FormatError(`${what}: safetensors has no type for ${tensor.dtype}`);
    if (!tensor.shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
      throw new FormatError(`${what}: [${tensor.shape.join(", ")}] is no shape`);
    }
    names.add(name);
    planned.push({
      name,
      utf8: utf8(name, what),
      ...stored,
      bytes: byteLength(tensor.dtype, sizeOf(tensor.shape)),
      tensor,
    });
  }
  return planned.sort((a, b) => b.rank - a.rank || Buffer.compare(a.utf8, b.utf8));
}

/** 8 bytes of length, then the JSON, padded with spaces so that data begins at a multiple of 8. */
function encodeHeader(
  path: string,
  planned: readonly Planned[],
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  const fields: string[] = [];
  if (metadata !== undefined) {
    const pairs = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
    const texts = pairs.map((pair) => pair.map((text) => jsonText(text, `internal: ${path}: metadata`)).join(":"));
    fields.push(`"__metadata__":{${texts.join(",")}}`);
  }
  let offset = 0;
  for (const { name, storedType, bytes, tensor } of planned) {
    const info = `{"dtype":"${storedType}","shape":[${tensor.shape.join(",")}],"data_offsets":[${offset},${offset + bytes}]}`;
    fields.push(`${jsonText(name, path)}:${info}`);
    offset += bytes;
  }
  const json = Buffer.from(`{${fields.join(",")}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  const header = Buffer.alloc(8 + length, " ");
  header.writeBigUInt64LE(BigInt(length), 0);
  json.copy(header, 8);
  return header;
}

function* chunks(path: string, header: Uint8Array, planned: readonly Planned[]): Generator<Uint8Array> {
  yield header;
  for (const { name, bytes, tensor } of planned) {
    const data = typeof tensor.data === "function" ? tensor.data() : tensor.data;
    if (data.byteLength !== bytes) {
      throw new FormatError(
        `internal: ${path}: tensor ${quoteName(name)}: ${tensor.dtype} [${tensor.shape.join(", ")}] takes ${bytes} bytes, ` +
          `its data has ${data.byteLength}`,
      );
    }
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
}

function jsonText(text: string, what: string): string {
  utf8(text, what);
  return JSON.stringify(text);
}

/** The text as UTF-8; half a surrogate pair has no such form, and no reader would take it. */
function utf8(text: string, what: string): Uint8Array {
  const bytes = Buffer.from(text);
  if (bytes.toString() !== text) throw new FormatError(`${what}: ${quoteName(text)} is no valid Unicode text`);
  return bytes;
}
