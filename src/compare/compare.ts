/** Runs a comparison, or what is left of it, and gathers the table. */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DataError, messageOf } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import { makeFolder } from "../files/make-folder.ts";
import { locateModel } from "../models/locate.ts";
import { openModel, weightsHash } from "../models/open.ts";
import type { TrainEvent } from "../train/events.ts";
import type { ComparedMethod, Comparison } from "./config.ts";
import {
  better,
  type FailedRun,
  type InferenceTimes,
  keptEvaluation,
  metricName,
  RunInterrupted,
  type RunResult,
} from "./result.ts";
import { contentsOf, type PlannedRun, planRun, type RunChoice } from "./runs.ts";

/** Runs commands of lowrank, each in a process of its own, so that its peak of memory is its own. */
export interface Commands {
  train(flags: Readonly<Record<string, unknown>>): AsyncIterable<TrainEvent>;
  evaluate(flags: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
  /** As `lowrank bench inference --json`. */
  inference(flags: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
}

export interface CompareInput {
  readonly comparison: Comparison;
  readonly out: string;
  readonly commands: Commands;
  /** Told before each run that is not there yet. */
  onRun?(run: PlannedRun, done: number, total: number): void;
  onEvent?(event: TrainEvent): void;
}

export interface ComparisonResult {
  readonly model: string;
  readonly results: readonly RunResult[];
  readonly failures: readonly FailedRun[];
}

const RESULT = "result.json";
const INFERENCE = "inference.json";

/** Each finished run is kept under OUT/runs by the hash of its settings; a second call goes on from there. */
export async function compare({ comparison, out, commands, onRun, onEvent }: CompareInput): Promise<ComparisonResult> {
  const contents = contentsOf(comparison, weightsHash(openModel(locateModel(comparison.model))));
  makeFolder(out);
  const cells = comparison.tasks.flatMap((task) =>
    comparison.methods.flatMap((method) => comparison.rows.map((rows) => ({ task, method, rows }))),
  );
  const searches = cells.reduce((sum, { method }) => sum + Math.max(0, method.lr.length - 1), 0);
  const total = cells.length * comparison.seeds.length + searches;
  const results: RunResult[] = [];
  const failures: FailedRun[] = [];
  let done = 0;
  const attempt = async (choice: RunChoice): Promise<RunResult | null> => {
    const run = planRun(comparison, choice, contents);
    const folder = join(out, "runs", run.key);
    try {
      const kept = join(folder, RESULT);
      if (!existsSync(kept)) {
        onRun?.(run, done, total);
        writeJsonAtomic(kept, await runOne(run, folder, commands, onEvent));
      }
      return { ...(readJsonObject(kept) as unknown as RunResult), out: folder };
    } catch (error) {
      if (error instanceof RunInterrupted) throw error;
      const { task, method, seed, rows } = choice;
      failures.push({ task: task.name, method: method.name, seed, rows, error: messageOf(error) });
      return null;
    } finally {
      done++;
    }
  };
  for (const cell of cells) {
    const [first, ...others] = comparison.seeds;
    const tried: RunResult[] = [];
    for (const lr of cell.method.lr.length > 0 ? cell.method.lr : [null]) {
      const result = await attempt({ ...cell, seed: first!, lr });
      if (result) tried.push(result);
    }
    const best = tried.reduce<RunResult | null>(
      (held, each) => (held && !better(each.metric, each.heldOut, held.heldOut) ? held : each),
      null,
    );
    if (!best) continue;
    results.push({ ...best, ...(await inferenceOf(comparison, cell.method, best.out, commands)) });
    for (const seed of others) {
      const result = await attempt({ ...cell, seed, lr: best.lr });
      if (result) results.push(result);
    }
  }
  return { model: comparison.model, results, failures };
}

/** What the run's adapter costs in use, measured once and kept beside it; nothing for a model without one. */
async function inferenceOf(
  { model, train }: Comparison,
  method: ComparedMethod,
  folder: string,
  commands: Commands,
): Promise<{ inference?: InferenceTimes }> {
  const settings = { ...train, ...method.train };
  if (settings["method"] === "full") return {};
  const kept = join(folder, INFERENCE);
  if (!existsSync(kept)) {
    const { threads } = settings;
    const measured = await commands.inference({ model, adapter: [join(folder, "out")], threads });
    const median = (name: string): number | null => (measured[name] as { median: number } | null)?.median ?? null;
    const times: InferenceTimes = { base: median("base"), unmerged: median("unmerged"), merged: median("merged") };
    writeJsonAtomic(kept, times);
  }
  return { inference: readJsonObject(kept) as unknown as InferenceTimes };
}

async function runOne(
  run: PlannedRun,
  folder: string,
  commands: Commands,
  onEvent: (event: TrainEvent) => void = () => {},
): Promise<Omit<RunResult, "out">> {
  const { task, method, seed, rows, lr, train } = run;
  mkdirSync(folder, { recursive: true });
  const out = join(folder, "out");
  const resume = existsSync(out) && readdirSync(out).some((name) => name.startsWith("checkpoint-"));
  const data = rows === null ? task.data : firstRows(task.data, rows, folder);
  const events: TrainEvent[] = [];
  for await (const event of commands.train({
    ...train,
    data,
    evalData: task.evalData,
    out,
    ...(resume ? { resume } : {}),
  })) {
    events.push(event);
    onEvent(event);
  }
  const start = events.find((event) => event.event === "start");
  const end = events.find((event) => event.event === "done");
  const held = keptEvaluation(events);
  if (!start || !end || !held) throw new DataError("The run did not reach its end.");
  const full = train["method"] === "full";
  const measured = task.test
    ? await commands.evaluate({
        ...(full ? { model: out } : { model: train["model"], adapter: [out] }),
        data: task.test,
        task: start.task,
        ...(train["maxLength"] === undefined ? {} : { maxLength: train["maxLength"] }),
      })
    : held;
  const metric = metricName(task.metric, measured);
  const [quality, heldOut] = [measured[metric], held[metric]].map(Number) as [number, number];
  if (Number.isNaN(quality) || Number.isNaN(heldOut)) {
    throw new DataError(
      `An evaluation has no ${metric}: it has ${Object.keys(measured).join(", ")}. Set the task's metric.`,
    );
  }
  return {
    task: task.name,
    method: method.name,
    seed,
    rows,
    lr,
    metric,
    quality,
    heldOut,
    trainableParameters: start.trainableParameters,
    totalParameters: start.totalParameters,
    steps: end.steps,
    seconds: end.seconds,
    tokensPerSecond: end.tokensPerSecond,
    peakMemoryBytes: end.peakMemoryBytes,
    fileBytes: weightBytes(out),
  };
}

/** The first rows of a JSON Lines file, in a file of the run. Throws DataError when there are fewer. */
function firstRows(file: string, count: number, folder: string): string {
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "");
  if (lines.length < count) {
    throw new DataError(`${file}: ${lines.length} rows, and ${count} are asked for. Lower "rows".`);
  }
  const path = join(folder, "rows.jsonl");
  writeFileSync(path, `${lines.slice(0, count).join("\n")}\n`);
  return path;
}

function weightBytes(folder: string): number {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".safetensors"))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
