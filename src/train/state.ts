/** Checkpoints of a run: everything that going on bit for bit needs, in one folder that appears whole or not at all. */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { LowrankError, UsageError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../files/safetensors.ts";
import { sameShape } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { Moments } from "./adamw.ts";
import type { Average } from "./average.ts";
import type { EvalEvent, SampleEvent, StepEvent } from "./events.ts";

const STATE_FILE = "trainer_state.json";
const OPTIMIZER_FILE = "optimizer.safetensors";
const BEST_FILE = "best.safetensors";
/** Checkpoints that were being written when a process was killed. */
const LEFTOVER = /^checkpoint-\d+\.partial$/;

/** Entries of a fingerprint that are hashes, and of what. */
const CONTENTS: Readonly<Record<string, string>> = {
  base: "the model's weights",
  data: "the training rows",
  evalData: "the held-out rows",
  initAdapter: "the adapter to start from",
};

export interface BestSoFar {
  readonly step: number;
  readonly loss: number;
  readonly tensors: ReadonlyMap<string, FloatTensor>;
}

type Seen = StepEvent | EvalEvent | SampleEvent;

/** What a run has seen, in order. */
export type History = readonly Seen[];

export interface RunState<E = Seen> {
  readonly step: number;
  readonly parameters: ReadonlyMap<string, FloatTensor>;
  readonly moments: Moments;
  /** Left away by runs that keep none. */
  readonly average?: Average | null;
  readonly best: BestSoFar | null;
  /** Everything that must be the same in a run that goes on from here, by name. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Steps that the run is to take in all. */
  readonly total: number;
  readonly history: readonly E[];
}

/** Writes OUT/checkpoint-STEP, keeping the newest `limit`; `save` writes the adapter itself. Returns the folder. */
export function saveState<E>(out: string, state: RunState<E>, limit: number, save: (folder: string) => void): string {
  const folder = join(out, `checkpoint-${state.step}`);
  const partial = `${folder}.partial`;
  for (const name of existsSync(out) ? readdirSync(out) : []) {
    if (LEFTOVER.test(name)) rmSync(join(out, name), { recursive: true, force: true });
  }
  mkdirSync(partial, { recursive: true });
  save(partial);
  const tensors: [string, FloatTensor][] = [];
  for (const [key, { shape }] of state.parameters) {
    tensors.push([`parameter/${key}`, state.parameters.get(key)!]);
    tensors.push([`first/${key}`, floatTensor(shape, state.moments.first.get(key)!)]);
    tensors.push([`second/${key}`, floatTensor(shape, state.moments.second.get(key)!)]);
    if (state.average) tensors.push([`average/${key}`, floatTensor(shape, state.average.get(key)!)]);
  }
  writeSafetensors(join(partial, OPTIMIZER_FILE), tensors);
  if (state.best) writeSafetensors(join(partial, BEST_FILE), state.best.tensors);
  const best = state.best && { step: state.best.step, loss: state.best.loss };
  writeJsonAtomic(join(partial, STATE_FILE), {
    step: state.step,
    best,
    total: state.total,
    fingerprint: state.fingerprint,
    history: state.history,
  });
  if (existsSync(folder)) renameSync(folder, `${folder}.replaced`);
  renameSync(partial, folder);
  rmSync(`${folder}.replaced`, { recursive: true, force: true });
  for (const old of listCheckpoints(out).slice(0, -limit)) rmSync(old.path, { recursive: true, force: true });
  return folder;
}

/** Whole checkpoints of a run, oldest first. */
export function listCheckpoints(out: string): { readonly step: number; readonly path: string }[] {
  if (!existsSync(out)) return [];
  return readdirSync(out)
    .flatMap((name) => {
      const match = /^checkpoint-(\d+)(\.replaced)?$/.exec(name);
      const path = join(out, name);
      // One that was being replaced when the process was killed is still good.
      if (!match || (match[2] && existsSync(join(out, `checkpoint-${match[1]}`)))) return [];
      return existsSync(join(path, STATE_FILE)) ? [{ step: Number(match[1]), path }] : [];
    })
    .toSorted((a, b) => a.step - b.step);
}

/** Reads a checkpoint; throws UsageError naming everything that differs from the run that wants to go on. */
export function loadState<E = Seen>(
  path: string,
  { fingerprint, total }: Pick<RunState, "fingerprint" | "total">,
  shapes: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): RunState<E> {
  if (!existsSync(join(path, STATE_FILE))) {
    throw new UsageError(
      `${path}: no ${STATE_FILE}, so it is no checkpoint of this trainer. Name a checkpoint-N folder.`,
    );
  }
  const state = readJsonObject(join(path, STATE_FILE));
  refuseChanges(path, state["fingerprint"] as RunState["fingerprint"], fingerprint);
  const planned = Number(state["total"]);
  if (total < planned) {
    throw new UsageError(
      `${path} cannot be resumed with fewer steps: the run was to take ${planned}, found ${total}. Run the same command again; --max-steps may only grow.`,
    );
  }
  const { tensors } = openSafetensors(join(path, OPTIMIZER_FILE));
  const read = (key: string, shape: readonly number[]): FloatTensor => {
    const entry = tensors.get(key);
    if (!entry || !sameShape(entry.shape, shape)) {
      throw new LowrankError(`${path}: ${OPTIMIZER_FILE} lacks ${key} [${shape}]. Resume from another checkpoint.`);
    }
    return floatTensor(shape, (readTensor(entry).data as Float32Array).slice());
  };
  const all = (kind: string): Map<string, FloatTensor> =>
    new Map([...shapes].map(([key, { shape }]) => [key, read(`${kind}/${key}`, shape)]));
  const numbers = (kind: string): Map<string, Float32Array> =>
    new Map([...all(kind)].map(([key, { data }]) => [key, data]));
  const best = state["best"] as { step: number; loss: number } | null;
  return {
    step: Number(state["step"]),
    parameters: all("parameter"),
    moments: { first: numbers("first"), second: numbers("second") },
    average: [...tensors.keys()].some((key) => key.startsWith("average/")) ? numbers("average") : null,
    best: best && { ...best, tensors: readBest(path, shapes) },
    fingerprint,
    total: planned,
    history: state["history"] as readonly E[],
  };
}

function readBest(path: string, shapes: Parameters<typeof loadState>[2]): Map<string, FloatTensor> {
  const { tensors } = openSafetensors(join(path, BEST_FILE));
  return new Map(
    [...shapes].map(([key, { shape }]) => {
      const entry = tensors.get(key);
      if (!entry) throw new LowrankError(`${path}: ${BEST_FILE} lacks ${key}. Resume from another checkpoint.`);
      return [key, floatTensor(shape, (readTensor(entry).data as Float32Array).slice())];
    }),
  );
}

function refuseChanges(path: string, then: RunState["fingerprint"], now: RunState["fingerprint"]): void {
  const changed = [...new Set([...Object.keys(then), ...Object.keys(now)])].filter(
    (name) => JSON.stringify(then[name]) !== JSON.stringify(now[name]),
  );
  if (changed.length === 0) return;
  const lines = changed.map((name) => {
    const hashed = CONTENTS[name];
    if (hashed && then[name] && now[name]) return `  ${name}: the contents of ${hashed} have changed`;
    return `  ${name}: was ${JSON.stringify(then[name])}, is ${JSON.stringify(now[name])}`;
  });
  throw new UsageError(
    `${path} cannot be resumed with these changes:\n${lines.join("\n")}\nRun the same command again (only --max-steps may grow), or start anew in another --out.`,
  );
}
