/** Merging speed: the whole command, with its check of the result. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mergeHere } from "../merge/merge.ts";
import type { Runtime } from "../runtime/session.ts";
import { type Spread, spreadOf } from "./spread.ts";

export interface BenchMergeOptions {
  readonly model: string;
  /** PEFT folders. */
  readonly adapters: readonly string[];
  readonly repeats?: number;
  readonly threads?: number;
}

export interface BenchMerge {
  /** Reading, merging, writing, and comparing logits. */
  readonly seconds: Spread;
  readonly maxAbsDiff: number;
  readonly peakMemoryBytes: number;
}

/** Merges all adapters into scratch folders. */
export async function benchMerge(
  { model, adapters, repeats = 3, threads = 2 }: BenchMergeOptions,
  runtime: Runtime,
): Promise<BenchMerge> {
  const scratch = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
  try {
    const seconds: number[] = [];
    let maxAbsDiff = 0;
    for (let i = 0; i < repeats; i++) {
      const out = join(scratch, "merged");
      rmSync(out, { recursive: true, force: true });
      const begun = performance.now();
      const choices = adapters.map((path) => ({ name: path, path, weight: 1 }));
      ({ maxAbsDiff } = await mergeHere({ model, adapters: choices, out, threads }, runtime));
      seconds.push((performance.now() - begun) / 1000);
    }
    return { seconds: spreadOf(seconds), maxAbsDiff, peakMemoryBytes: process.resourceUsage().maxRSS * 1024 };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
