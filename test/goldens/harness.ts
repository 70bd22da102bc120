/**
 * Golden cases: what transformers and PEFT computed for a small model, against what we compute.
 * A case folder holds model/, adapter/, data.jsonl, case.json, expected.safetensors and, in some, trained/ and merged/.
 */

import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { type Adapter, loadAdapter } from "../../src/adapters/adapter.ts";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { headOf } from "../../src/models/architecture.ts";
import { checkpointTask, type Model, openModel, traceChecked } from "../../src/models/open.ts";
import { streamInputs } from "../../src/models/stream.ts";
import type { ModelTrace } from "../../src/models/trace.ts";
import {
  chooseStreams,
  headRows,
  NO_VIRTUAL,
  type Placement,
  place,
  type VirtualTokens,
} from "../../src/program/layout.ts";
import { logitsProgram, type Program, trainProgram } from "../../src/program/program.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Task } from "../../src/task.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";

/** Tolerances of fp32 against PyTorch's fp32. */
export const TOLERANCES = { logits: 5e-5, loss: 2e-5, gradient: 1e-4 } as const;

export interface GoldenRow {
  readonly input_ids: readonly number[];
  readonly labels?: readonly number[];
  readonly label?: number;
}

/** What case.json says. */
export interface CaseFacts {
  readonly name: string;
  readonly batch_size: number;
  readonly steps: number;
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
  readonly optimizer: {
    readonly lr: number;
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly weight_decay: number;
    readonly max_grad_norm: number;
  };
}

export interface GoldenCase {
  readonly name: string;
  readonly folder: string;
  readonly model: Model;
  readonly task: Task;
  readonly trace: ModelTrace;
  /** The adapter before training. */
  readonly adapter: Adapter;
  /** Every row of data.jsonl; the first `facts.batch_size` are those of the expected tensors. */
  readonly rows: readonly GoldenRow[];
  readonly expected: ReadonlyMap<string, Tensor>;
  readonly facts: CaseFacts;
}

export interface RunOptions {
  /** Streams to lay the rows out in; the library's own choice when absent. */
  readonly streams?: { readonly B: number; readonly T: number };
  readonly virtual?: VirtualTokens;
  readonly recompute?: boolean;
}

/** The folder of one of the project's own cases. */
export function caseFolder(name: string): string {
  return fileURLToPath(new URL(`cases/${name}`, import.meta.url));
}

/** Opens a case by the name of a folder of `cases/`, or by a path. */
export function openCase(nameOrFolder: string): GoldenCase {
  const folder = nameOrFolder.includes("/") ? nameOrFolder : caseFolder(nameOrFolder);
  const model = openModel(join(folder, "model"));
  const task = checkpointTask(model.rawConfig) ?? "causal-lm";
  const trace = traceChecked(model, task);
  return {
    name: basename(folder),
    folder,
    model,
    task,
    trace,
    adapter: loadAdapter(openPeftFolder(join(folder, "adapter")), model, trace),
    rows: readLines(join(folder, "data.jsonl")) as GoldenRow[],
    expected: readTensors(openSafetensors(join(folder, "expected.safetensors"))),
    facts: JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as CaseFacts,
  };
}

/** The case's adapter after training, from trained/. */
export function trainedAdapter({ folder, model, trace }: GoldenCase): Adapter {
  return loadAdapter(openPeftFolder(join(folder, "trained")), model, trace);
}

/** The case's merged model, from merged/. */
export function mergedModel({ folder }: GoldenCase): Model {
  return openModel(join(folder, "merged"));
}

/** The first batch, which the expected tensors are of. */
export function firstBatch({ rows, facts }: GoldenCase): readonly GoldenRow[] {
  return rows.slice(0, facts.batch_size);
}

/** The head's scores for every place that the head reads, row after row, and how many each row has. */
export async function computeLogits(
  { model, task }: Pick<GoldenCase, "model" | "task">,
  rows: readonly GoldenRow[],
  adapter: Adapter | null,
  options: RunOptions = {},
): Promise<{ readonly rows: readonly Float32Array[]; readonly classes: number }> {
  const { streams, placement } = layOut(rows, options);
  const kind = headOf(model.architecture, task)!.rows;
  const everywhere = rows.map(({ input_ids }) => input_ids.map((_, i) => i));
  const places = headRows(kind, placement.places, everywhere);
  const program = logitsProgram({ model, task, adapters: mounted(adapter), shape: { ...streams, M: places.length, chunks: 1 } });
  const outputs = await run(program, placement, adapter, new Map([["rows", integers(places)]]));
  const { data, shape } = outputs.get("logits")!;
  const classes = shape[1]!;
  let at = 0;
  const perRow = rows.map(({ input_ids }) => {
    const count = (kind === "targets" ? input_ids.length : 1) * classes;
    at += count;
    return (data as Float32Array).slice(at - count, at);
  });
  return { rows: perRow, classes };
}

/** Loss and gradients of one batch, by the gradients' names in PyTorch. */
export async function computeGradients(
  { model, task }: Pick<GoldenCase, "model" | "task">,
  rows: readonly GoldenRow[],
  adapter: Adapter,
  options: RunOptions = {},
): Promise<{ readonly loss: number; readonly gradients: ReadonlyMap<string, Float32Array> }> {
  const { streams, placement } = layOut(rows, options);
  const { places, inputs } = targets(model, task, rows, placement);
  const shape = { ...streams, M: places.length, chunks: 1 };
  const program = trainProgram({ model, task, adapters: mounted(adapter), shape, recompute: options.recompute ?? false });
  const outputs = await run(program, placement, adapter, new Map([...inputs, ["rows", integers(places)]]));
  const gradients = new Map<string, Float32Array>();
  for (const [key, { torchName }] of adapter.method.parameters) {
    gradients.set(torchName ?? key, outputs.get(`grad.${key}`)!.data as Float32Array);
  }
  return { loss: Number(outputs.get("loss")!.data[0]), gradients };
}

/** Differences from the expected tensors: logits absolute, loss relative, gradients relative to the tensor's largest. */
export interface CaseErrors {
  readonly logits: Readonly<Record<string, number>>;
  readonly loss: number;
  readonly gradients: Readonly<Record<string, number>>;
}

/** Computes everything that the case expects and that the folder holds, and compares. */
export async function caseErrors(golden: GoldenCase, options: RunOptions = {}): Promise<CaseErrors> {
  const batch = firstBatch(golden);
  const logits: Record<string, number> = {};
  const compare = async (kind: string, model: Model, adapter: Adapter | null): Promise<void> => {
    const { virtual, ...plain } = options;
    const got = await computeLogits({ ...golden, model }, batch, adapter, adapter ? options : plain);
    logits[kind] = logitsError(golden, `${kind}.logits`, batch, got);
  };
  await compare("base", golden.model, null);
  await compare("adapter", golden.model, golden.adapter);
  if (existsSync(join(golden.folder, "trained"))) await compare("trained", golden.model, trainedAdapter(golden));
  if (existsSync(join(golden.folder, "merged"))) await compare("merged", mergedModel(golden), null);

  const { loss, gradients } = await computeGradients(golden, batch, golden.adapter, options);
  const wanted = Number(golden.expected.get("adapter.loss")!.data[0]);
  const errors: Record<string, number> = {};
  for (const [name, tensor] of golden.expected) {
    if (!name.startsWith("grad.")) continue;
    const got = gradients.get(name.slice("grad.".length));
    errors[name] = got ? relativeError(got, toFloat32(tensor)) : Number.POSITIVE_INFINITY;
  }
  return { logits, loss: Math.abs(loss - wanted) / Math.abs(wanted), gradients: errors };
}

/** Fails unless every difference is within `tolerances`; the message names each that is not. */
export function expectWithin(errors: CaseErrors, tolerances: typeof TOLERANCES = TOLERANCES): void {
  const beyond = [
    ...Object.entries(errors.logits).map(([name, error]) => ({
      name: `${name}.logits`,
      error,
      limit: tolerances.logits,
    })),
    { name: "loss", error: errors.loss, limit: tolerances.loss },
    ...Object.entries(errors.gradients).map(([name, error]) => ({ name, error, limit: tolerances.gradient })),
  ].filter(({ error, limit }) => !(error <= limit));
  expect(beyond).toEqual([]);
  expect(Object.keys(errors.gradients)).not.toHaveLength(0);
}

/** Largest |got - wanted| over the largest |wanted|. */
export function relativeError(got: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let largest = 0;
  let worst = got.length === wanted.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < wanted.length; i++) {
    largest = Math.max(largest, Math.abs(wanted[i]!));
    const difference = Math.abs(got[i]! - wanted[i]!);
    if (!(difference <= worst)) worst = difference; // NaN too
  }
  return worst / largest;
}

/** Largest difference at real tokens; expected logits are padded on the right and may begin with virtual tokens. */
function logitsError(
  { expected }: GoldenCase,
  name: string,
  batch: readonly GoldenRow[],
  got: { readonly rows: readonly Float32Array[]; readonly classes: number },
): number {
  const { data, shape } = expected.get(name)!;
  const longest = Math.max(...batch.map(({ input_ids }) => input_ids.length));
  const perToken = shape.length === 3;
  const T = perToken ? shape[1]! : 1;
  const skipped = perToken ? T - longest : 0;
  let worst = 0;
  got.rows.forEach((row, b) => {
    const from = (b * T + skipped) * got.classes;
    row.forEach((value, i) => {
      const difference = Math.abs(value - Number(data[from + i]));
      if (!(difference <= worst)) worst = difference;
    });
  });
  return worst;
}

function layOut(
  rows: readonly GoldenRow[],
  { streams, virtual = NO_VIRTUAL }: RunOptions,
): { streams: { B: number; T: number }; placement: Placement } {
  const tokens = rows.map(({ input_ids }) => ({ ids: Int32Array.from(input_ids) }));
  const lengths = tokens.map(({ ids }) => ids.length + virtual.prompt);
  const chosen = streams ?? chooseStreams(lengths, { attention: 0.01, head: 0.5 });
  return { streams: chosen, placement: place(tokens, chosen, virtual) };
}

/** The places that carry targets, and the inputs that hold them: the loss is the mean over all targets. */
function targets(
  model: Model,
  task: Task,
  rows: readonly GoldenRow[],
  { places }: Placement,
): { places: number[]; inputs: Map<string, Tensor> } {
  const kind = headOf(model.architecture, task)!.rows;
  const shift = task === "causal-lm" ? 1 : 0;
  const at = rows.map(({ labels = [] }) =>
    labels.flatMap((label, i) => (label === -100 || i < shift ? [] : [{ place: i - shift, label }])),
  );
  const read = headRows(
    kind,
    places,
    at.map((row) => row.map(({ place }) => place)),
  );
  const labels = kind === "targets" ? at.flat().map(({ label }) => label) : rows.map(({ label = 0 }) => label);
  const weights = floatTensor([read.length], new Float32Array(read.length).fill(1 / read.length));
  const wanted: [string, Tensor] =
    task === "regression"
      ? ["values", floatTensor([read.length, 1], Float32Array.from(labels))]
      : ["labels", integers(labels)];
  return { places: read, inputs: new Map<string, Tensor>([wanted, ["weights", weights]]) };
}

async function run(
  program: Program,
  { layout }: Placement,
  adapter: Adapter | null,
  inputs: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> {
  const session = await nodeRuntime.open(program.outputs, { threads: 2 });
  try {
    const fed = new Map<string, Tensor>([
      ...streamInputs(program.stream, { ...layout, draw: 0 }),
      ...(adapter?.tensors ?? []),
      ...inputs,
    ]);
    const outputs = await session.run(fed);
    // Copied: the session's memory goes with it.
    return new Map([...outputs].map(([name, { dtype, shape, data }]) => [name, { dtype, shape, data: data.slice() }]));
  } finally {
    await session.close();
  }
}

function mounted(adapter: Adapter | null): { method: Adapter["method"]; prefix: string; weight: number }[] {
  return adapter ? [{ method: adapter.method, prefix: "", weight: 1 }] : [];
}

function integers(values: readonly number[]): Tensor {
  return { dtype: "i32", shape: [values.length], data: Int32Array.from(values) };
}

function readLines(path: string): unknown[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as unknown);
}
