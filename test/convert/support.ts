import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { LowRank } from "../../src/convert/lora-file.ts";
import { writeJsonAtomic } from "../../src/files/atomic.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { multiply } from "../../src/tensor/linear-algebra.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

export type Rows = readonly (readonly number[])[];

/** A folder that is there during each test of the file. */
export function temporaryFolder(): (name: string) => string {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "lowrank-convert-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  return (name) => join(folder, name);
}

export function putAdapter(path: string, config: object, tensors: Readonly<Record<string, Rows>>): void {
  mkdirSync(path, { recursive: true });
  writeJsonAtomic(join(path, "adapter_config.json"), config);
  writeSafetensors(
    join(path, "adapter_model.safetensors"),
    Object.entries(tensors).map(([key, rows]) => [
      key,
      floatTensor([rows.length, rows[0]!.length], Float32Array.from(rows.flat())),
    ]),
  );
}

/** ΔW as rows. */
export function updateOf({ A, B, rank, in: width, out, scaling }: LowRank): number[] {
  return [...multiply(B, A, out, rank, width)].map((value) => scaling * value);
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}

/** Normal numbers in rows. */
export function randomRows(rows: number, columns: number, seed: number): number[][] {
  const random = randomStream(seed, rows, columns);
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => Math.fround(random.normal())));
}
