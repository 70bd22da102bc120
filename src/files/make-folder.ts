/** Folders for what a run writes. */

import { mkdirSync } from "node:fs";
import { ioError } from "./io-error.ts";

/** Makes a folder and those above it. Throws LowrankError naming the path when that is refused. */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw ioError("write", folder, error);
  }
}
