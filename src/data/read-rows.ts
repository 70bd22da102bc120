/**
 * The rows of a data file, one at a time: JSON Lines or one JSON array of objects, CSV or TSV with a header, each plain or
 * gzipped; Parquet. A byte order mark is skipped, and so are blank lines. What a file is, is told by its bytes, but for
 * tables of text, which are told by their names (.csv, .tsv).
 */

import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DataError, messageOf } from "../errors.ts";
import { csvRows } from "./csv.ts";
import { isObject, type JsonObject, kindOf, snippet } from "./json-values.ts";
import { parquetRows } from "./parquet.ts";

export interface Row {
  /** Line of the file, from 1; in a JSON array or a Parquet file the row's number, from 1. */
  readonly line: number;
  readonly value: JsonObject;
}

const CHUNK = 1 << 20;
const NEWLINE = 0x0a;

/**
 * Reads `file` row by row; plain JSON Lines never stand in memory as a whole.
 * Throws a DataError with file and line for what is not JSON, not an object or not UTF-8, and for a file without rows.
 */
export function* readRows(file: string): Generator<Row, void, undefined> {
  const head = opening(file);
  const zipped = head[0] === 0x1f && head[1] === 0x8b;
  const whole = zipped ? unzipped(file) : null;
  const start = new TextDecoder().decode((whole ?? head).subarray(0, 4096)).trimStart();
  const table = /\.(csv|tsv)(\.gz)?$/i.exec(file)?.[1]?.toLowerCase();
  const rows =
    start.startsWith("PAR1") && !zipped
      ? numbered(parquetRows(file))
      : table !== undefined
        ? csvRows(decoded(whole ?? readFileSync(file), file), file, table === "tsv" ? "\t" : ",")
        : start.startsWith("[")
          ? arrayRows(file, whole)
          : lineRows(file, whole);
  let count = 0;
  for (const row of rows) {
    count++;
    yield row;
  }
  if (count === 0)
    throw new DataError(`${file}: the file has no rows. One JSON object a line is needed, or a header and rows.`);
}

function* numbered(values: Iterable<JsonObject>): Generator<Row> {
  let line = 0;
  for (const value of values) yield { line: ++line, value };
}

function decoded(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new DataError(`${file}: not UTF-8 text. Save the file as UTF-8.`);
  }
}

function* lineRows(file: string, whole: Uint8Array | null): Generator<Row> {
  // Strict, so that a file in another encoding is not trained on as replacement characters. Skips the byte order mark.
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 0;
  for (const bytes of whole === null ? fileLines(file) : linesOf(whole)) {
    line++;
    let text: string;
    try {
      text = decoder.decode(bytes);
    } catch {
      throw new DataError(`${file}:${line}: not UTF-8 text. Save the file as UTF-8.`);
    }
    if (text.trim() !== "") yield { line, value: parsedRow(text, file, line) };
  }
}

function parsedRow(text: string, file: string, line: number): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = messageOf(error).replace(/, (?:\.\.\.)?".*is not valid JSON$/s, "");
    throw new DataError(
      `${file}:${line}: not valid JSON (${reason}): ${snippet(text.trim())}\nEach line must be one whole JSON object.`,
    );
  }
  if (!isObject(value)) throw new DataError(`${file}:${line}: the row is ${kindOf(value)}, a JSON object is needed.`);
  return value;
}

function* arrayRows(file: string, whole: Uint8Array | null): Generator<Row> {
  let values: unknown;
  try {
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(whole ?? readFileSync(file)));
  } catch (error) {
    throw new DataError(
      `${file}: begins with "[" but is no JSON array (${messageOf(error)}). Use one JSON object a line.`,
    );
  }
  let line = 0;
  for (const value of values as readonly unknown[]) {
    line++;
    if (!isObject(value)) throw new DataError(`${file}:${line}: the row is ${kindOf(value)}, a JSON object is needed.`);
    yield { line, value };
  }
}

function opening(file: string): Uint8Array {
  const bytes = new Uint8Array(4096);
  const handle = open(file);
  try {
    return bytes.subarray(0, readSync(handle, bytes, 0, bytes.length, 0));
  } catch (error) {
    throw new DataError(`${file}: cannot be read (${messageOf(error)}). A file of rows is needed.`);
  } finally {
    closeSync(handle);
  }
}

function open(file: string): number {
  try {
    return openSync(file, "r");
  } catch (error) {
    throw new DataError(`${file}: cannot be opened (${messageOf(error)}). Check the path.`);
  }
}

function unzipped(file: string): Uint8Array {
  try {
    return gunzipSync(readFileSync(file));
  } catch (error) {
    throw new DataError(
      `${file}: the gzip file cannot be unpacked (${messageOf(error)}). Download it again, or unpack it yourself.`,
    );
  }
}

/** Lines of a file without their newline, reading a chunk at a time. */
function* fileLines(file: string): Generator<Uint8Array> {
  const handle = open(file);
  try {
    let parts: Uint8Array[] = []; // of a line that began in an earlier chunk
    for (;;) {
      const chunk = new Uint8Array(CHUNK);
      const length = readSync(handle, chunk, 0, CHUNK, null);
      if (length === 0) break;
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at !== -1 && at < length; at = chunk.indexOf(NEWLINE, from)) {
        yield joined([...parts, chunk.subarray(from, at)]);
        parts = [];
        from = at + 1;
      }
      if (from < length) parts.push(chunk.subarray(from, length));
    }
    if (parts.length > 0) yield joined(parts);
  } finally {
    closeSync(handle);
  }
}

function* linesOf(bytes: Uint8Array): Generator<Uint8Array> {
  let from = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, from)) {
    yield bytes.subarray(from, at);
    from = at + 1;
  }
  if (from < bytes.length) yield bytes.subarray(from);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
