/** A LoRA adapter out of a full fine-tune: the best low-rank approximation of what each linear layer changed by. */

import { AdapterMismatchError, UsageError } from "../errors.ts";
import { readTensor } from "../files/safetensors.ts";
import { checkpointTask, type Model, openModel, traceChecked } from "../models/open.ts";
import type { ModelTrace, Module } from "../models/trace.ts";
import { peftTask } from "../program/setup.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import { type LowRank, plainConfig, writeLora } from "./lora-file.ts";
import { truncateMatrix } from "./truncation.ts";

export interface ExtractInput {
  /** Folders of the base and of the model that was fine-tuned from it. */
  readonly base: string;
  readonly tuned: string;
  readonly rank: number;
  readonly out: string;
  /** What the adapter's configuration calls its base; `base` when not given. */
  readonly baseName?: string;
  readonly onProgress?: (module: string, done: number, of: number) => void;
}

export interface ExtractResult {
  readonly out: string;
  readonly r: number;
  readonly modules: number;
  /** Share of the linear layers' change (Σσ²) that the adapter holds, and the least of a layer. */
  readonly energy: number;
  readonly leastEnergy: number;
  /** Tensors that changed too and have no low-rank form here: norms, biases, embeddings, the head. */
  readonly left: readonly string[];
}

/** Throws AdapterMismatchError for models of different shapes, UsageError when nothing differs. */
export function extractAdapter({ base, tuned, rank, out, baseName = base, onProgress }: ExtractInput): ExtractResult {
  if (!(Number.isInteger(rank) && rank > 0)) throw new UsageError(`--r: found ${rank}, needed a whole number above 0.`);
  const [from, to] = [openModel(base), openModel(tuned)];
  const task = checkpointTask(to.rawConfig) ?? checkpointTask(from.rawConfig) ?? "causal-lm";
  const trace = traceChecked(to, task);
  checkSame(from, to, trace);
  const all = [...trace.modules.values()].filter(isInner);
  const changed = all.filter(({ name }) => differs(from, to, `${name}.weight`, trace));
  if (changed.length === 0) {
    throw new UsageError(
      `${tuned} and ${base} have the same linear layers: there is nothing to extract. Check both paths.`,
    );
  }
  const ends = new Set(changed.map(({ name }) => endOf(name)));
  const taken = all.filter(({ name }) => ends.has(endOf(name)));
  const modules = new Map<string, LowRank>();
  let [keptAll, totalAll, leastEnergy] = [0, 0, 1];
  taken.forEach(({ name, spec }, i) => {
    onProgress?.(name, i, taken.length);
    const kind = { in: spec.in, out: spec.out, embedding: false };
    const { factors, kept, total } = truncateMatrix(deltaOf(from, to, name, spec), kind, rank);
    modules.set(name, factors);
    keptAll += kept;
    totalAll += total;
    if (total > 0) leastEnergy = Math.min(leastEnergy, kept / total);
  });
  const config = plainConfig(modules.keys(), {
    task_type: peftTask(task),
    base_model_name_or_path: baseName,
    fan_in_fan_out: taken.some(({ spec }) => spec.layout === "in,out"),
  });
  writeLora(out, config, modules);
  const held = new Set(taken.map(({ name }) => `${name}.weight`));
  const left = [...trace.tensors.keys()].filter((name) => !held.has(name) && differs(from, to, name, trace));
  return { out, r: rank, modules: modules.size, energy: keptAll / totalAll, leastEnergy, left };
}

type Linear = Extract<Module, { kind: "linear" }>;

function isInner(module: Module): module is Linear {
  return module.kind === "linear" && !module.head && !module.spec.weight;
}

function endOf(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

function checkSame(from: Model, to: Model, trace: ModelTrace): void {
  const problems: string[] = [];
  for (const [name, shape] of trace.tensors) {
    // A head that the fine-tune added is no linear layer of the base's.
    if (!from.source.has(name)) continue;
    try {
      from.source.find(name, shape);
    } catch {
      problems.push(`${name}: the base's has another shape than [${shape}]`);
    }
  }
  const missing = [...trace.modules.values()].filter(isInner).filter(({ name }) => !from.source.has(`${name}.weight`));
  problems.push(...missing.map(({ name }) => `${name}.weight: the base lacks it`));
  if (problems.length === 0) return;
  const lines = problems.slice(0, 20).map((each) => `\n  ${each}`);
  throw new AdapterMismatchError(
    `${to.folder} is no fine-tune of ${from.folder}:${lines.join("")}\nGive the base that it was trained from.`,
    problems,
  );
}

function read(model: Model, name: string, shape: readonly number[]): Float32Array {
  const entry = model.source.find(name, shape);
  return toFloat32(readTensor({ ...entry, name, storedType: entry.dtype }));
}

function differs(from: Model, to: Model, name: string, { tensors }: ModelTrace): boolean {
  const shape = tensors.get(name);
  if (!shape || !from.source.has(name)) return false;
  const [a, b] = [read(from, name, shape), read(to, name, shape)];
  return a.some((value, i) => value !== b[i]);
}

/** What the layer's matrix changed by, as [out, in]. */
function deltaOf(from: Model, to: Model, name: string, { in: width, out, layout }: Linear["spec"]): Float64Array {
  const turned = layout === "in,out";
  const shape = turned ? [width, out] : [out, width];
  const [a, b] = [read(from, `${name}.weight`, shape), read(to, `${name}.weight`, shape)];
  const delta = Float64Array.from(b, (value, i) => value - a[i]!);
  return turned ? transpose(delta, width, out) : delta;
}
