/** Training speed on a user's own model: steps of `trainHere`, timed, and on request by kinds of operators. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { openBase } from "../program/setup.ts";
import { readProfiles } from "../runtime/profile.ts";
import type { Runtime } from "../runtime/session.ts";
import { randomStream } from "../tensor/random.ts";
import type { StepEvent } from "../train/events.ts";
import type { TrainInput } from "../train/options.ts";
import { trainHere } from "../train/train.ts";
import { measurePeak, type Peak } from "./peak.ts";
import { type GroupTime, groupTimes, typicalRun } from "./profile.ts";
import { type Spread, spreadOf } from "./spread.ts";

export interface BenchTrainOptions extends Omit<TrainInput, "out" | "data" | "maxSteps"> {
  /** Training rows; absent: rows of `tokens` random tokens. */
  readonly data?: string;
  /** Tokens of a random row. Default 128. */
  readonly tokens?: number;
  /** Steps after the first. Default 8. */
  readonly steps?: number;
  /** Whether operators are timed too, which slows a step a little. */
  readonly profile?: boolean;
}

export interface BenchTrain {
  readonly tokensPerSecond: Spread;
  readonly stepMs: Spread;
  /** Process start to the end of the first step. */
  readonly firstStepSeconds: number;
  readonly peakMemoryBytes: number;
  readonly loss: number;
  /** By kinds of operators, of the step of middling time; null unless asked for. */
  readonly profile: { readonly groups: readonly GroupTime[]; readonly peak: Peak } | null;
}

/** Trains a few steps in a scratch folder and measures them. */
export async function benchTrain(
  { data, tokens = 128, steps = 8, profile = false, ...options }: BenchTrainOptions,
  runtime: Runtime,
): Promise<BenchTrain> {
  const scratch = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
  const prefix = join(scratch, "profile");
  const traced: Runtime = {
    open: runtime.open,
    openSized: (graph, session) => runtime.openSized(graph, profile ? { ...session, profilePrefix: prefix } : session),
  };
  const total = steps + 1;
  try {
    const input: TrainInput = {
      shuffle: false,
      scheduler: "constant",
      batchSize: 4,
      ...options,
      data: data ?? randomRows(options.model, tokens, (options.batchSize ?? 4) * total, scratch),
      out: join(scratch, "out"),
      maxSteps: total,
    };
    const taken: StepEvent[] = [];
    let firstStepSeconds = 0;
    let vocabulary = 0;
    for await (const event of trainHere(input, { runtime: traced })) {
      if (event.event !== "step") continue;
      if (taken.length === 0) firstStepSeconds = performance.now() / 1000;
      taken.push(event);
    }
    if (profile) vocabulary = openBase(options.model).model.config.vocabularySize;
    const later = taken.slice(1);
    const rank = Number(options.adapterFields?.["r"] ?? 8);
    return {
      tokensPerSecond: spreadOf(later.map((each) => each.tokensPerSecond)),
      stepMs: spreadOf(later.map(({ seconds }) => 1000 * seconds)),
      firstStepSeconds,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      loss: taken.at(-1)!.loss,
      profile: profile
        ? {
            groups: groupTimes(typicalRun(readProfiles(prefix)), { vocabulary, rank }),
            peak: await measurePeak(runtime, options.threads ?? 2),
          }
        : null,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Rows of random tokens, every one of them a target, as a file. */
function randomRows(model: string, tokens: number, count: number, folder: string): string {
  const { config } = openBase(model).model;
  if (config.maxPositions !== null && tokens > config.maxPositions) {
    throw new LowrankError(`--tokens ${tokens}: ${model} has ${config.maxPositions} positions. Ask for fewer.`);
  }
  const random = randomStream(0);
  const lines = Array.from({ length: count }, () => {
    const ids = Array.from({ length: tokens }, () => random.integer(config.vocabularySize));
    return JSON.stringify({ input_ids: ids, labels: ids });
  });
  const path = join(folder, "rows.jsonl");
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}
