/** Files that are whole or absent: written under a temporary name, flushed to the disk, then renamed. */

import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { LowrankError } from "../errors.ts";
import { errnoOf, ioError } from "./io-error.ts";

/** Bytes a single write takes at most; the system's own limit is just below 2 GiB. */
const WRITE_LIMIT = 2 ** 30;

/**
 * Writes `chunks` one after another as the file `path`, in a folder that exists. Whatever happens (an error of `chunks`
 * included), `path` is either what it was or complete, and no temporary file stays. A symbolic link at `path` is
 * replaced, its target left alone. Throws LowrankError when the disk or the permissions refuse.
 */
export function writeFileAtomic(path: string, chunks: Uint8Array | Iterable<Uint8Array>): void {
  const folder = dirname(path);
  // Not derived from the file's name, which may already be as long as names can be.
  const temporary = join(folder, `.lowrank-${randomBytes(8).toString("hex")}.tmp`);
  // Wraps our own calls only: an error thrown while producing the chunks is not about writing `path`.
  const disk = <T>(step: () => T): T => {
    try {
      return step();
    } catch (error) {
      throw ioError("write", path, error);
    }
  };
  const file = disk(() => openSync(temporary, "wx"));
  try {
    try {
      for (const chunk of chunks instanceof Uint8Array ? [chunks] : chunks) disk(() => writeAll(file, chunk));
      disk(() => fsyncSync(file));
    } finally {
      closeSync(file);
    }
    disk(() => renameSync(temporary, path));
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
  disk(() => syncFolder(folder));
}

/**
 * Writes `value` as JSON: two spaces of indentation, a final newline. Numbers that JSON lacks become the strings
 * "NaN", "Infinity" and "-Infinity", as on the command line. Throws as `writeFileAtomic` does.
 */
export function writeJsonAtomic(path: string, value: unknown): void {
  const text: string | undefined = JSON.stringify(value, spelledNumbers, 2);
  if (text === undefined)
    throw new LowrankError(`internal: a value of type ${typeof value} has no JSON form (${path})`);
  writeFileAtomic(path, new TextEncoder().encode(`${text}\n`));
}

/** For JSON.stringify: numbers that JSON lacks as text. */
export function spelledNumbers(_key: string, item: unknown): unknown {
  return typeof item === "number" && !Number.isFinite(item) ? String(item) : item;
}

function writeAll(file: number, chunk: Uint8Array): void {
  let done = 0;
  while (done < chunk.byteLength) {
    done += writeSync(file, chunk.subarray(done, done + WRITE_LIMIT));
  }
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The error that brought us here says more.
  }
}

/** Makes the rename itself durable. Windows and some network file systems refuse to sync a folder; then it is theirs. */
function syncFolder(folder: string): void {
  let handle: number | undefined;
  try {
    handle = openSync(folder, "r");
    fsyncSync(handle);
  } catch (error) {
    if (errnoOf(error) === "EIO") throw error;
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
