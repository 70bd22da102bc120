/**
 * Rows of a Parquet file, a row group at a time. hyparquet decodes; its reader is asynchronous, and rows are read in place
 * here, so that its steps are called one by one.
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import * as zlib from "node:zlib";
import { type Compressors, flatten, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet";
import { assembleNested } from "hyparquet/src/assemble.js";
import { readColumn } from "hyparquet/src/column.js";
import { DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { getTreePath } from "hyparquet/src/schema.js";
import { DataError, messageOf } from "../errors.ts";
import type { JsonObject } from "./json-values.ts";

/** Rows in order, with whole numbers as numbers and dates as text. Throws a DataError that names the file. */
export function* parquetRows(file: string): Generator<JsonObject, void, undefined> {
  const handle = openSync(file, "r");
  const bytes = (from: number, to: number): Buffer => {
    const part = Buffer.alloc(to - from);
    readSync(handle, part, 0, part.length, from);
    return part;
  };
  try {
    const { size } = fstatSync(handle);
    const footer = size < 12 ? 0 : bytes(size - 8, size).readUInt32LE(0);
    const metadata = parquetMetadata(bytes(Math.max(0, size - footer - 8), size), { geoparquet: false });
    const schema = parquetSchema(metadata);
    for (const { columns, num_rows: count } of metadata.row_groups) {
      const rows = Number(count);
      const decoded = new Map<string, ArrayLike<unknown>>();
      for (const { meta_data: column } of columns) {
        if (column === undefined) throw new Error("a column has no description");
        const from = Number(column.dictionary_page_offset ?? column.data_page_offset);
        const page = bytes(from, from + Number(column.total_compressed_size));
        const path = getTreePath(schema, column.path_in_schema);
        const { data } = readColumn(
          { view: new DataView(page.buffer, page.byteOffset, page.length), offset: 0 },
          { groupStart: 0, selectStart: 0, selectEnd: rows, groupRows: rows },
          {
            ...column,
            pathInSchema: column.path_in_schema,
            element: path.at(-1)!.element,
            schemaPath: path,
            parsers: DEFAULT_PARSERS,
            compressors: COMPRESSORS,
          },
        );
        decoded.set(column.path_in_schema.join("."), flatten(data));
      }
      const named = schema.children.map((child) => [child.element.name, columnOf(child, decoded)] as const);
      for (let row = 0; row < rows; row++) {
        yield Object.fromEntries(named.map(([name, values]) => [name, plain(values[row])]));
      }
    }
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(
      `${file}: the Parquet file cannot be read (${messageOf(error)}). Download it again, or turn it into JSONL.`,
    );
  } finally {
    closeSync(handle);
  }
}

/** Lists and structures are put together from their leaves. */
function columnOf(child: SchemaTree, decoded: Map<string, ArrayLike<unknown>>): ArrayLike<unknown> {
  const { name } = child.element;
  if (child.children.length > 0) {
    const leaves = [...decoded].filter(([path]) => path.startsWith(`${name}.`));
    const parts = new Map(leaves.map(([path, values]) => [path, Array.from(values)]));
    assembleNested(parts, child, DEFAULT_PARSERS);
    return parts.get(name)!;
  }
  return decoded.get(name)!;
}

/** As JSON would hold it. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** Beside Snappy, which hyparquet has. Zstandard is in Node from 22.15. */
const COMPRESSORS: Compressors = {
  GZIP: (page) => zlib.gunzipSync(page),
  BROTLI: (page) => zlib.brotliDecompressSync(page),
  ZSTD: (page) => {
    const decompress = (zlib as { zstdDecompressSync?: (page: Uint8Array) => Uint8Array }).zstdDecompressSync;
    if (decompress) return decompress(page);
    throw new Error("it is compressed by Zstandard, which needs Node 22.15 or newer");
  },
};
