/**
 * What an adapter costs where a model is used: one forward pass over the same rows by the base, by base + adapter and by the
 * merged model, in turns (the question of the LoRA paper's table 1).
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Example } from "../data/example.ts";
import { LowrankError } from "../errors.ts";
import { openAdapters, settleWithAdapters } from "../evaluate/adapters.ts";
import { createScorer, randomRows, type Scored } from "../evaluate/scorer.ts";
import { writeMerged } from "../merge/merge.ts";
import { openModel, traceChecked } from "../models/open.ts";
import { lacksHead, openBase, type Setup } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { classifies } from "../task.ts";
import { type RatioInterval, ratioInterval, type Spread, spreadOf } from "./spread.ts";

export interface BenchInferenceOptions {
  readonly model: string;
  /** PEFT folders, applied together. */
  readonly adapters: readonly string[];
  readonly rows?: number;
  /** Of each row. */
  readonly tokens?: number;
  readonly repeats?: number;
  readonly threads?: number;
}

/** Milliseconds of a pass. */
export interface BenchInference {
  /** Null where the base has no head for the adapter's task. */
  readonly base: Spread | null;
  readonly unmerged: Spread;
  /** Null where the adapter cannot be merged, as a prompt. */
  readonly merged: Spread | null;
  readonly unmergedOverBase: RatioInterval | null;
  readonly mergedOverBase: RatioInterval | null;
}

const WARM_UP = 2;

/** Times the passes in turns, each turn in another order. Throws LowrankError for models or adapters that do not fit. */
export async function benchInference(
  { model, adapters, rows = 4, tokens = 64, repeats = 15, threads = 2 }: BenchInferenceOptions,
  runtime: Runtime,
): Promise<BenchInference> {
  const choices = adapters.map((path) => ({ name: path, path, weight: 1 }));
  const bare = openBase(model, null);
  const opened = openAdapters(choices);
  const { setup, loaded } = settleWithAdapters(bare, opened, null);
  const scratch = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
  try {
    const contestants = new Map<string, Scored>([["unmerged", { setup, ...loaded }]]);
    if (!classifies(setup.task) || !lacksHead(bare.model, setup.task))
      contestants.set("base", { setup, mounted: [], tensors: new Map() });
    const weighted = loaded.adapters.map((adapter, i) => ({ ...choices[i]!, adapter }));
    if (isMergeable(() => writeMerged(setup, weighted, join(scratch, "merged"), null))) {
      const merged = openModel(join(scratch, "merged"));
      const own: Setup = { ...setup, model: merged, trace: traceChecked(merged, setup.task) };
      contestants.set("merged", { setup: own, mounted: [], tensors: new Map() });
    }
    const examples = randomRows(setup, rows, tokens);
    const times = await timeInTurns(contestants, examples, { repeats, threads }, runtime);
    const spread = (name: string): Spread | null => (times.has(name) ? spreadOf(times.get(name)!) : null);
    const ratio = (name: string): RatioInterval | null =>
      times.has(name) && times.has("base") ? ratioInterval(times.get(name)!, times.get("base")!) : null;
    return {
      base: spread("base"),
      unmerged: spread("unmerged")!,
      merged: spread("merged"),
      unmergedOverBase: ratio("unmerged"),
      mergedOverBase: ratio("merged"),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function isMergeable(write: () => void): boolean {
  try {
    write();
    return true;
  } catch (error) {
    if (error instanceof LowrankError) return false;
    throw error;
  }
}

/** Milliseconds of each one's passes; turn i of one is the neighbour of turn i of every other. */
async function timeInTurns(
  contestants: ReadonlyMap<string, Scored>,
  examples: readonly Example[],
  { repeats, threads }: { readonly repeats: number; readonly threads: number },
  runtime: Runtime,
): Promise<Map<string, number[]>> {
  const entries = [...contestants].map(([name, scored]) => ({
    name,
    scorer: createScorer(scored, runtime, { threads }),
    times: [] as number[],
  }));
  try {
    for (let turn = -WARM_UP; turn < repeats; turn++) {
      for (let i = 0; i < entries.length; i++) {
        const { scorer, times } = entries[(i + turn + WARM_UP) % entries.length]!;
        const begun = performance.now();
        await scorer.score(examples);
        if (turn >= 0) times.push(performance.now() - begun);
      }
    }
    return new Map(entries.map(({ name, times }) => [name, times]));
  } finally {
    for (const { scorer } of entries) await scorer.close();
  }
}
