/** Text files that users name. */

import { readFileSync } from "node:fs";
import { ioError } from "./io-error.ts";

/** Throws LowrankError naming the path when it cannot be read. */
export function readTextFile(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    throw ioError("read", path, error);
  }
}
