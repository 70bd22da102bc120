/** Reading parts of files: always as many bytes as asked for, or an error that says so. */

import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { ioError } from "./io-error.ts";

/** Bytes a single read takes at most; the system's own limit is just below 2 GiB. */
const READ_LIMIT = 2 ** 30;

/** Opens a file for `use`. Throws FormatError when it is no regular file, LowrankError when it cannot be read. */
export function withFile<T>(path: string, use: (file: number) => T): T {
  return withReadErrors(path, () => {
    // Asked first, because opening a named pipe would wait for ever.
    if (!statSync(path).isFile())
      throw new FormatError(`${path}: found a folder or device, needed a file. Check the path.`);
    const file = openSync(path, "r");
    try {
      return use(file);
    } finally {
      closeSync(file);
    }
  });
}

/** A whole file. Errors as for `withFile`. */
export function readFile(path: string): Uint8Array {
  return withFile(path, (file) => readExactly(file, path, 0, fstatSync(file).size));
}

/** Turns system errors of `step` into ones that name the path. */
export function withReadErrors<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw ioError("read", path, error);
  }
}

/** `length` bytes at `offset`, in memory of their own. Throws FormatError when the file ends before. */
export function readExactly(file: number, path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const count = readSync(file, bytes, {
      offset: done,
      length: Math.min(READ_LIMIT, length - done),
      position: offset + done,
    });
    if (count === 0) {
      throw new FormatError(
        `${path}: the file ended at byte ${offset + done}, needed ${offset + length}: it changed while being read.`,
      );
    }
    done += count;
  }
  return bytes;
}
