/** The bytes of a pickle, read in order, and the two ways in which reading ends badly. */

import { FormatError } from "../errors.ts";

/** Bytes of a line (the names of a global), and of a whole number. */
const LINE_LIMIT = 1024;
const INTEGER_LIMIT = 32;

export interface PickleBytes {
  /** Bytes read so far. */
  readonly position: () => number;
  readonly byte: () => number;
  readonly int32: () => number;
  readonly uint16: () => number;
  readonly uint32: () => number;
  /** A length of eight bytes. */
  readonly length64: () => number;
  readonly float64: () => number;
  /** A whole number of `count` bytes, in two's complement. */
  readonly integer: (count: number) => number | bigint;
  readonly slice: (count: number) => Uint8Array;
  /** UTF-8 of `count` bytes. */
  readonly text: (count: number) => string;
  /** Text up to the next line feed. */
  readonly line: () => string;
  readonly skip: (count: number) => void;
  /** Throws: the file is no whole pickle. */
  readonly damaged: (problem: string) => never;
  /** Throws: the pickle may be whole, and holds more than plain data. */
  readonly refuse: (what: string) => never;
}

export function pickleBytes(bytes: Uint8Array, path: string): PickleBytes {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const damaged = (problem: string): never => {
    throw new FormatError(
      `${path}: damaged pickle, byte ${at}: ${problem}. Download the file again or save it anew with torch.save.`,
    );
  };
  const refuse = (what: string): never => {
    throw new FormatError(
      `${path}: the pickle uses ${what} (byte ${at}), which this reader refuses because pickles can run code: it takes ` +
        "tensors, numbers, texts, lists, tuples and dictionaries only. Save a plain state dict, or a safetensors file.",
    );
  };
  /** Moves on by `count` bytes and gives where they begin. */
  const take = (count: number): number => {
    if (count > bytes.byteLength - at)
      return damaged(`it needs ${count} more bytes, and ${bytes.byteLength - at} are left`);
    at += count;
    return at - count;
  };
  const slice = (count: number): Uint8Array => {
    const from = take(count);
    return bytes.subarray(from, from + count);
  };
  const text = (count: number): string => {
    const found = slice(count);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(found);
    } catch {
      return damaged("a text is not valid UTF-8");
    }
  };
  return {
    position: () => at,
    byte: () => bytes[take(1)]!,
    int32: () => view.getInt32(take(4), true),
    uint16: () => view.getUint16(take(2), true),
    uint32: () => view.getUint32(take(4), true),
    length64: () => Number(view.getBigUint64(take(8), true)),
    float64: () => view.getFloat64(take(8), false),
    integer: (count) => {
      if (count > INTEGER_LIMIT) return refuse(`a whole number of ${count} bytes`);
      let value = 0n;
      const digits = slice(count);
      for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(digits[i]!);
      const signed = BigInt.asIntN(8 * count, value);
      return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
    },
    slice,
    text,
    line: () => {
      const end = bytes.subarray(at, at + LINE_LIMIT).indexOf(10);
      if (end < 0) return damaged(`no line ends within ${LINE_LIMIT} bytes`);
      const found = text(end);
      take(1);
      return found;
    },
    skip: (count) => void take(count),
    damaged,
    refuse,
  };
}
