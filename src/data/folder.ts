/** Folders that hold a data set in parts: train, valid and test files. */

import { readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { DataError } from "../errors.ts";

export type Part = "train" | "valid" | "test";

const NAMES: Readonly<Record<Part, readonly string[]>> = {
  train: ["train", "training"],
  valid: ["valid", "validation", "val", "dev", "eval", "validation_matched"],
  test: ["test"],
};
/** The number that published data sets put behind a part's name. */
const SHARD = /-\d{5}-of-\d{5}(?:-[0-9a-f]{16})?$/;
const ENDINGS = /\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?$/i;

/** The file of the first of `parts` that the folder has; `path` itself when it is no folder. Throws DataError for none. */
export function dataFile(path: string, ...parts: readonly Part[]): string {
  if (!isFolder(path)) return path;
  for (const part of parts) {
    const file = partOf(path, part);
    if (file !== null) return file;
  }
  const needed = parts.map((part) => `${part}.jsonl`).join(" or ");
  const found = readdirSync(path).slice(0, 8).join(", ") || "nothing";
  throw new DataError(
    `${path}: the folder has no ${needed} (found: ${found}). Rename the file, or name it instead of the folder.`,
  );
}

/** The part's file; null when `path` is no folder or has no such part. */
export function partOf(path: string, part: Part): string | null {
  if (!isFolder(path)) return null;
  const found = dataFiles(path).filter((name) =>
    NAMES[part].includes(basename(name).replace(ENDINGS, "").replace(SHARD, "").toLowerCase()),
  );
  if (found.length > 1) {
    throw new DataError(
      `${path}: ${found.toSorted((a, b) => (a < b ? -1 : 1)).join(" and ")} are both its ${part} rows. Keep one, or name the file.`,
    );
  }
  return found.length === 0 ? null : join(path, found[0]!);
}

/** Data files of the folder and of `data/` in it, where published data sets keep theirs. */
function dataFiles(path: string): string[] {
  const inside = join(path, "data");
  const nested = isFolder(inside) ? readdirSync(inside).map((name) => join("data", name)) : [];
  return [...readdirSync(path), ...nested].filter((name) => ENDINGS.test(name));
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
