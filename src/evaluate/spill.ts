/** Scores of many rows on their way into a safetensors file, whose header needs every shape first: kept on disk. */

import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { ioError } from "../files/io-error.ts";
import { type WritableTensor, writeSafetensors } from "../files/safetensors.ts";

export interface Spill {
  add(name: string, shape: readonly number[], values: Float32Array): void;
  /** Writes the safetensors file. */
  finish(): void;
  /** Removes what was kept. */
  discard(): void;
}

/** Throws LowrankError when `path` cannot be written. */
export function spillScores(path: string): Spill {
  const kept = `${path}.partial`;
  const tensors: [string, WritableTensor][] = [];
  let file: number;
  try {
    file = openSync(kept, "w+");
  } catch (error) {
    throw ioError("write", path, error);
  }
  let at = 0;
  return {
    add: (name, shape, values) => {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const from = at;
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, from + done);
      at += bytes.length;
      const data = (): Float32Array => {
        const read = new Uint8Array(bytes.length);
        for (let done = 0; done < read.length; ) done += readSync(file, read, done, read.length - done, from + done);
        return new Float32Array(read.buffer);
      };
      tensors.push([name, { dtype: "f32", shape, data }]);
    },
    finish: () => writeSafetensors(path, tensors),
    discard: () => {
      closeSync(file);
      rmSync(kept, { force: true });
    },
  };
}
