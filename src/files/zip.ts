/**
 * Where the files of a zip archive lie, for archives that store them as they are (torch.save writes such).
 * Source: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3. Strict: an archive that two readers could see differently
 * (overlapping entries, repeated names, headers that disagree) is refused.
 */

import { FormatError } from "../errors.ts";
import { quoteName } from "./quote.ts";

export interface ZipEntry {
  /** Byte of the file at which the entry's data begins. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A file's bytes at a place; always as many as asked for. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** Bytes of the records without their variable parts. */
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
const END_64_BYTES = 56;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
/** Entries; the largest checkpoints have some ten thousand. */
const ENTRY_LIMIT = 1_000_000;
const DIRECTORY_LIMIT = 256 * 2 ** 20;

interface Listed extends ZipEntry {
  readonly name: string;
  /** Of the entry's local header. */
  readonly header: number;
}

/** The entries of an archive by name. Throws FormatError when it is damaged, compressed, encrypted or ambiguous. */
export function readZip(path: string, size: number, readAt: ReadAt): Map<string, ZipEntry> {
  const fail = (problem: string): never => {
    throw new FormatError(`${path}: ${problem}. Download the file again or save it anew with torch.save.`);
  };
  const { start, length, count } = findDirectory(size, readAt, fail);
  const directory = viewOf(readAt(start, length));
  const entries: Listed[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { entry, next } = readCentral(directory, at, fail);
    entries.push({ ...entry, ...locate(entry, start, readAt, fail) });
    at = next;
  }
  if (at !== length) fail(`the zip directory has ${length} bytes, its ${count} entries take ${at}`);
  checkOverlaps(entries, fail);
  const named = new Map(entries.map(({ name, offset, byteLength }) => [name, { offset, byteLength }]));
  if (named.size !== entries.length) fail("two zip entries have the same name");
  return named;
}

type Fail = (problem: string) => never;

interface Directory {
  readonly start: number;
  readonly length: number;
  readonly count: number;
}

/** The end record, without a comment as torch writes it, and its 64-bit form where there is one. */
function findDirectory(size: number, readAt: ReadAt, fail: Fail): Directory {
  if (size < END_BYTES) return fail(`a zip archive needs at least ${END_BYTES} bytes, the file has ${size}`);
  const tail = viewOf(readAt(size - END_BYTES, END_BYTES));
  if (tail.getUint32(0, true) !== END || tail.getUint16(20, true) !== 0) {
    return fail("the zip archive has no end record: the file is cut short or damaged");
  }
  if (tail.getUint16(4, true) !== 0 || tail.getUint16(6, true) !== 0) fail("the zip archive has several parts");
  let end = size - END_BYTES;
  let directory: Directory = {
    start: tail.getUint32(16, true),
    length: tail.getUint32(12, true),
    count: tail.getUint16(10, true),
  };
  if (end >= LOCATOR_BYTES) {
    const locator = viewOf(readAt(end - LOCATOR_BYTES, LOCATOR_BYTES));
    if (locator.getUint32(0, true) === LOCATOR_64) {
      const at = number64(locator, 8);
      if (at + END_64_BYTES > end - LOCATOR_BYTES) fail("the zip archive's 64-bit end record lies outside the file");
      const record = viewOf(readAt(at, END_64_BYTES));
      if (record.getUint32(0, true) !== END_64) fail("the zip archive's 64-bit end record is damaged");
      directory = { start: number64(record, 48), length: number64(record, 40), count: number64(record, 32) };
      end = at;
    }
  }
  const { start, length, count } = directory;
  if (start + length !== end)
    fail(`the zip directory takes bytes ${start} to ${start + length}, needed to end at ${end}`);
  if (count > ENTRY_LIMIT || length > DIRECTORY_LIMIT || length < count * CENTRAL_BYTES) {
    fail(`the zip directory claims ${count} entries in ${length} bytes`);
  }
  return directory;
}

interface Central {
  readonly name: string;
  readonly header: number;
  readonly byteLength: number;
}

function readCentral(directory: DataView, at: number, fail: Fail): { entry: Central; next: number } {
  if (at + CENTRAL_BYTES > directory.byteLength || directory.getUint32(at, true) !== CENTRAL) {
    return fail("the zip directory is damaged");
  }
  const nameLength = directory.getUint16(at + 28, true);
  const extraLength = directory.getUint16(at + 30, true);
  const extra = at + CENTRAL_BYTES + nameLength;
  const next = extra + extraLength + directory.getUint16(at + 32, true);
  if (next > directory.byteLength) return fail("the zip directory is damaged");
  const name = nameOf(bytesOf(directory, at + CENTRAL_BYTES, nameLength), fail);
  const where = `the zip entry ${quoteName(name)}`;
  if ((directory.getUint16(at + 8, true) & 1) !== 0) fail(`${where} is encrypted`);
  const method = directory.getUint16(at + 10, true);
  if (method !== 0) fail(`${where} is compressed (method ${method}), needed stored data`);
  // Fields of all ones have their values in the 64-bit extra field, in this order.
  const wide = extraField(directory, extra, extraLength, fail);
  let taken = 0;
  const value = (field: number): number => {
    const short = directory.getUint32(field, true);
    if (short !== 0xffffffff) return short;
    if (!wide || wide.byteLength < taken + 8) return fail(`${where} lacks its 64-bit sizes`);
    taken += 8;
    return number64(wide, taken - 8);
  };
  const byteLength = value(at + 24);
  const packed = value(at + 20);
  const header = value(at + 42);
  if (packed !== byteLength) fail(`${where} is stored in ${packed} bytes but should have ${byteLength}`);
  return { entry: { name, header, byteLength }, next };
}

function extraField(directory: DataView, from: number, length: number, fail: Fail): DataView | null {
  for (let at = from; at + 4 <= from + length; ) {
    const size = directory.getUint16(at + 2, true);
    if (at + 4 + size > from + length) fail("the zip directory is damaged");
    if (directory.getUint16(at, true) === 1) return new DataView(directory.buffer, directory.byteOffset + at + 4, size);
    at += 4 + size;
  }
  return null;
}

/** Where an entry's data begins: behind its local header, which must name the same file. */
function locate({ name, header, byteLength }: Central, limit: number, readAt: ReadAt, fail: Fail): ZipEntry {
  const where = `the zip entry ${quoteName(name)}`;
  const outside = (): never => fail(`${where} lies outside the file`);
  if (header + LOCAL_BYTES > limit) return outside();
  const local = viewOf(readAt(header, LOCAL_BYTES));
  if (local.getUint32(0, true) !== LOCAL || local.getUint16(8, true) !== 0) fail(`${where} has a damaged header`);
  const nameLength = local.getUint16(26, true);
  const offset = header + LOCAL_BYTES + nameLength + local.getUint16(28, true);
  if (offset + byteLength > limit) return outside();
  const own = Buffer.from(readAt(header + LOCAL_BYTES, nameLength)).toString();
  if (own !== name) fail(`${where} is called ${quoteName(own)} in its own header`);
  return { offset, byteLength };
}

function checkOverlaps(entries: readonly Listed[], fail: Fail): void {
  let end = 0;
  for (const { name, header, offset, byteLength } of entries.toSorted((a, b) => a.header - b.header)) {
    if (header < end) fail(`the zip entry ${quoteName(name)} overlaps another one`);
    end = offset + byteLength;
  }
}

function nameOf(bytes: Uint8Array, fail: Fail): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail("the name of a zip entry is not valid UTF-8");
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length);
}

/** Values beyond 2^53 are rounded, and then lie outside of any file. */
function number64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}
