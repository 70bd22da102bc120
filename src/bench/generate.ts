/** Generation speed of a base with adapters, and what changing the adapter between two requests costs. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadOptions, loadBase } from "../generate/load.ts";
import { type Kernel, readProfiles } from "../runtime/profile.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import { typicalRun } from "./profile.ts";
import { type Spread, spreadOf } from "./spread.ts";

export interface BenchGenerateOptions {
  readonly model: string;
  /** PEFT folders. */
  readonly adapters?: readonly string[];
  readonly prompt?: string;
  readonly maxTokens?: number;
  readonly repeats?: number;
  readonly threads?: number;
  /** Arithmetic of the base. Default fp32. */
  readonly precision?: NonNullable<LoadOptions["precision"]>;
  /** Folder for quantised copies; null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
  /** Whether operators are timed too, which slows every token. */
  readonly profile?: boolean;
}

/** What a token spends in one type of operator. */
export interface OperatorTime {
  readonly type: string;
  readonly count: number;
  readonly milliseconds: number;
}

export interface BenchGenerate {
  readonly loadSeconds: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly firstTokenMs: Spread;
  readonly tokensPerSecond: Spread;
  readonly peakMemoryBytes: number;
  /** Operators of the token of middling time, longest first; null unless asked for. */
  readonly profile: readonly OperatorTime[] | null;
}

export interface BenchSwitch {
  /** First token with the adapter of the request before. */
  readonly sameMs: Spread;
  /** First token with another adapter than the request before. */
  readonly switchedMs: Spread;
  readonly adapters: readonly string[];
}

const PROMPT = "The harbour lay quiet when the ship came in, and nobody on the quay could say who";

/** Greedy completions of one prompt with all adapters together; the first, which warms up, is left out. */
export async function benchGenerate(
  {
    model,
    adapters: paths = [],
    prompt = PROMPT,
    maxTokens = 64,
    repeats = 5,
    threads = 2,
    precision = "fp32",
    cacheDir = null,
    profile = false,
  }: BenchGenerateOptions,
  runtime: Runtime,
): Promise<BenchGenerate> {
  const scratch = profile ? mkdtempSync(join(tmpdir(), "lowrank-bench-")) : null;
  const profiled = (session: SessionOptions): SessionOptions =>
    scratch ? { ...session, profilePrefix: join(scratch, "profile") } : session;
  const traced: Runtime = {
    ...runtime,
    open: (outputs, session) => runtime.open(outputs, profiled(session)),
    openSized: (graph, session) => runtime.openSized(graph, profiled(session)),
  };
  const begun = performance.now();
  const base = await loadBase(model, { threads, prefixBytes: 0, precision, cacheDir }, traced);
  let open = true;
  try {
    const adapters = await Promise.all(paths.map(async (path) => [await base.adapter(path), 1] as const));
    const loadSeconds = (performance.now() - begun) / 1000;
    const runs = [];
    for (let i = 0; i <= repeats; i++) {
      runs.push(await base.complete({ prompt, maxTokens, temperature: 0, adapters }));
    }
    await base.close(); // profiles are written at the end
    open = false;
    const later = runs.slice(1);
    return {
      loadSeconds,
      promptTokens: later[0]!.promptTokens,
      completionTokens: later[0]!.completionTokens,
      firstTokenMs: spreadOf(later.map(({ firstTokenMs }) => firstTokenMs)),
      tokensPerSecond: spreadOf(later.map(({ tokensPerSecond }) => tokensPerSecond)),
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      profile: scratch ? operatorTimes(readProfiles(join(scratch, "profile"))) : null,
    };
  } finally {
    if (open) await base.close();
    if (scratch) rmSync(scratch, { recursive: true, force: true });
  }
}

/** Single tokens are the runs that there are most of. */
function operatorTimes(runs: readonly (readonly Kernel[])[]): OperatorTime[] {
  const byLength = new Map<number, (readonly Kernel[])[]>();
  for (const run of runs.filter(({ length }) => length > 0))
    byLength.set(run.length, [...(byLength.get(run.length) ?? []), run]);
  const steps = [...byLength.values()].toSorted((a, b) => b.length - a.length)[0] ?? [];
  const times = new Map<string, { count: number; milliseconds: number }>();
  for (const { type, milliseconds } of typicalRun(steps)) {
    const held = times.get(type) ?? { count: 0, milliseconds: 0 };
    times.set(type, { count: held.count + 1, milliseconds: held.milliseconds + milliseconds });
  }
  return [...times].map(([type, time]) => ({ type, ...time })).toSorted((a, b) => b.milliseconds - a.milliseconds);
}

/** One token for each request: first the same adapter again and again, then each adapter in turn. */
export async function benchSwitch(
  { model, adapters: paths = [], prompt = PROMPT, repeats = 10, threads = 2 }: BenchGenerateOptions,
  runtime: Runtime,
): Promise<BenchSwitch> {
  const base = await loadBase(model, { threads, prefixBytes: 0 }, runtime);
  try {
    const adapters = await Promise.all(paths.map((path) => base.adapter(path)));
    const choices =
      adapters.length > 1 ? adapters.map((each) => [[each, 1] as const]) : [[], [[adapters[0]!, 1] as const]];
    const first = async (chosen: (typeof choices)[number]): Promise<number> => {
      const { firstTokenMs } = await base.complete({ prompt, maxTokens: 1, temperature: 0, adapters: chosen });
      return firstTokenMs;
    };
    for (const choice of choices) await first(choice);
    const same: number[] = [];
    for (let i = 0; i < repeats; i++) same.push(await first(choices.at(-1)!));
    const switched: number[] = [];
    for (let i = 0; i < repeats; i++) switched.push(await first(choices[i % choices.length]!));
    return { sameMs: spreadOf(same), switchedMs: spreadOf(switched), adapters: paths };
  } finally {
    await base.close();
  }
}
