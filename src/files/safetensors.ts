/** Reading safetensors files: headers at once, tensor data only when asked for. */

import { fstatSync, realpathSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { typedView } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { quoteName } from "./quote.ts";
import { readExactly, withFile, withReadErrors } from "./read-file.ts";
import { AGAIN, type Header, parseHeader, type TensorEntry } from "./safetensors-header.ts";

export type { TensorEntry } from "./safetensors-header.ts";
export { type WritableTensor, writeSafetensors } from "./safetensors-writer.ts";

export interface SafetensorsFile extends Header {
  /** The file itself, symbolic links followed. */
  readonly path: string;
}

/** The reference's limit. */
const HEADER_LIMIT = 100_000_000;

/** A file's bytes at a place; always as many as asked for. */
type ReadAt = (offset: number, length: number) => Uint8Array;

/**
 * Reads and checks the header of a file; no tensor data is read. Throws FormatError when the file is not valid
 * safetensors (the reference's verdict, and repeated keys are refused), LowrankError when it cannot be read.
 */
export function openSafetensors(path: string): SafetensorsFile {
  const real = withReadErrors(path, () => realpathSync(path));
  return withFile(real, (file) => {
    const size = fstatSync(file).size;
    return parse(real, size, (offset, length) => readExactly(file, real, offset, length));
  });
}

/** As `openSafetensors`, for a file in memory; `name` stands for its path. Entries' offsets count from `bytes[0]`. */
export function parseSafetensors(bytes: Uint8Array, name: string): SafetensorsFile {
  return parse(name, bytes.byteLength, (offset, length) => bytes.subarray(offset, offset + length));
}

/**
 * Reads one tensor's data, in memory of its own. Throws FormatError for a stored type that cannot be computed with,
 * and when the file has become shorter since it was opened.
 */
export function readTensor(entry: TensorEntry): Tensor {
  const { memory, path } = entry;
  if (memory) return tensorOf(entry, (offset, length) => memory.slice(offset, offset + length));
  return withFile(path, (file) => readFrom(file, entry));
}

function readFrom(file: number, entry: TensorEntry): Tensor {
  return tensorOf(entry, (offset, length) => readExactly(file, entry.path, offset, length));
}

function tensorOf({ dtype, name, path, shape, storedType, offset, byteLength }: TensorEntry, readAt: ReadAt): Tensor {
  const what = `${path}: tensor ${quoteName(name)}`;
  if (dtype === null) {
    throw new FormatError(
      `${what} is stored as ${storedType}, which cannot be computed with. Convert it to F32, F16 or BF16.`,
    );
  }
  if (!shape.every(Number.isSafeInteger)) {
    throw new FormatError(`${what} has an extent beyond 2^53: [${shape.join(", ")}]. ${AGAIN}`);
  }
  return { dtype, shape, data: typedView(dtype, readAt(offset, byteLength)) };
}

/** Reads every tensor of a file or checkpoint, in its order. Errors as for `readTensor`. */
export function readTensors(source: { readonly tensors: ReadonlyMap<string, TensorEntry> }): Map<string, Tensor> {
  const read = new Map<string, Tensor>([...source.tensors.keys()].map((name) => [name, EMPTY]));
  for (const path of new Set([...source.tensors.values()].map((entry) => entry.path))) {
    withFile(path, (file) => {
      for (const [name, entry] of source.tensors) if (entry.path === path) read.set(name, readFrom(file, entry));
    });
  }
  return read;
}

/** Stands where a tensor has not been read yet, to keep the order. */
const EMPTY: Tensor = { dtype: "u8", shape: [0], data: new Uint8Array() };

/** 8 bytes of header length (little endian), the header, the data. */
function parse(path: string, size: number, readAt: ReadAt): SafetensorsFile {
  if (size < 8) throw new FormatError(`${path}: the file has ${size} bytes, safetensors needs at least 8. ${AGAIN}`);
  const start = readAt(0, Math.min(size, 64));
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  const problem =
    length > HEADER_LIMIT
      ? `the limit is ${HEADER_LIMIT}`
      : length > size - 8
        ? `the file has only ${size}: it is cut short or damaged`
        : null;
  if (problem !== null) {
    throw new FormatError(`${path}: the header should take ${length} bytes, but ${problem}. ${hint(start)}`);
  }
  const dataStart = 8 + Number(length);
  const text = decode(readAt(8, Number(length)), path);
  return { path, ...parseHeader(text, { path, dataStart, dataLength: size - dataStart }) };
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FormatError(`${path}: the safetensors header is not valid UTF-8. ${AGAIN}`);
  }
}

/** What often lies under a safetensors name instead, and what to do. */
function hint(start: Uint8Array): string {
  const text = Buffer.from(start).toString("latin1");
  if (text.startsWith("version https://git-lfs"))
    return "It is a Git LFS pointer: run `git lfs pull` to get the file itself.";
  if (/^\s*<(!doctype|html)/i.test(text))
    return "It is a web page: download the file itself (…/resolve/…, not …/blob/…).";
  if (text.startsWith("PK\x03\x04") || text.startsWith("\x80\x02"))
    return "It is a pickled PyTorch file: convert it to safetensors.";
  if (text.startsWith("GGUF")) return "It is a GGUF file: name it .gguf.";
  return AGAIN;
}
