/** Reference cases: computes every tensor that CASE/expected.safetensors names, as a check of this library. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Example } from "../data/example.ts";
import { FormatError, ModelError } from "../errors.ts";
import { type LoadedAdapters, openAdapters, settleWithAdapters, virtualTokens } from "../evaluate/adapters.ts";
import { type RowScores, scoreRows } from "../evaluate/scores.ts";
import { openSafetensors, readTensor, type TensorEntry, writeSafetensors } from "../files/safetensors.ts";
import { writeMerged } from "../merge/merge.ts";
import { openModel, traceChecked } from "../models/open.ts";
import { countTargets, prepareBatch } from "../program/batch.ts";
import { logitsProgram, trainProgram } from "../program/program.ts";
import { createRunner } from "../program/runner.ts";
import { batchFacts, openBase, readData, type Setup } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { computeDiffusion, SINGLE_FILE } from "./diffusion.ts";
import { computeSchedules, schedulerFiles } from "./schedulers.ts";

export interface VerifyInput {
  readonly folder: string;
  /** File for our tensors. */
  readonly write: string;
  /** An empty folder that the merged model may be written to. */
  readonly scratch: string;
  readonly threads?: number;
}

export interface VerifyResult {
  readonly tensors: number;
  /** Largest differences by kind ("adapter.logits", "grad"): absolute for logits, relative otherwise. */
  readonly differences: Readonly<Record<string, number>>;
}

/** Computes, writes and compares. Throws ModelError when the folder is no case, or holds what cannot be computed. */
export async function verifyHere(
  { folder, write, scratch, threads = 2 }: VerifyInput,
  runtime: Runtime,
): Promise<VerifyResult> {
  const path = join(folder, "expected.safetensors");
  if (!existsSync(path))
    throw new ModelError(`${folder}: no expected.safetensors. Name the folder of a reference case.`);
  const { tensors: expected } = openSafetensors(path);
  const session = { threads };
  const held = new Map<string, FloatTensor>();
  const pipeline = ["model_index.json", SINGLE_FILE].some((name) => existsSync(join(folder, name)));
  if (pipeline || schedulerFiles(folder).length > 0) {
    const given = new Map([...expected].map(([name, entry]) => [name, readTensor(entry)]));
    const found = pipeline ? await computeDiffusion(folder, given, runtime, session) : computeSchedules(folder, given);
    for (const [name, { shape, data }] of found) held.set(name, floatTensor(shape, Float32Array.from(data, Number)));
    return finish(folder, write, expected, held);
  }
  const base = openBase(join(folder, "model"));
  const adapter = openAdapters([{ name: "adapter", path: join(folder, "adapter"), weight: 1 }]);
  const { setup, loaded } = settleWithAdapters(base, adapter, null);
  const rowOptions = { task: setup.task, maxLength: 2 ** 30, maskPrompt: true };
  const { examples } = readData(base, join(folder, "data.jsonl"), rowOptions);
  const batch = examples.slice(0, batchSize(expected));
  const scores = (at: Setup, using: LoadedAdapters | null): Promise<RowScores[]> =>
    computeScores(at, using, batch, runtime, session);
  const ours = new Map<string, FloatTensor>();
  const put = (name: string, rows: readonly RowScores[]): void => {
    const entry = expected.get(name);
    if (entry) ours.set(name, padded(rows, entry));
  };

  if (expected.has("base.logits")) put("base.logits", await scores(setup, null));
  if (expected.has("adapter.logits")) put("adapter.logits", await scores(setup, loaded));
  for (const [name, tensor] of await lossAndGradients(setup, loaded, batch, runtime, session)) ours.set(name, tensor);
  if (expected.has("trained.logits") || expected.has("merged.logits")) {
    const trained = settleWithAdapters(
      base,
      openAdapters([{ name: "trained", path: join(folder, "trained"), weight: 1 }]),
      setup.task,
    ).loaded;
    const rows = await scores(setup, trained);
    put("trained.logits", rows);
    const [only] = trained.adapters;
    if (expected.has("merged.logits") && only) {
      put("merged.logits", only.method.mergeable ? await mergedScores() : rows);
    }
    async function mergedScores(): Promise<RowScores[]> {
      writeMerged(setup, [{ name: "trained", adapter: only!, weight: 1 }], scratch, null);
      const model = openModel(scratch);
      return scores({ ...setup, model, trace: traceChecked(model, setup.task) }, null);
    }
  }

  return finish(folder, write, expected, ours);
}

/** Writes and compares. */
function finish(
  folder: string,
  write: string,
  expected: ReadonlyMap<string, TensorEntry>,
  ours: ReadonlyMap<string, FloatTensor>,
): VerifyResult {
  const missing = [...expected.keys()].filter((name) => !ours.has(name));
  if (missing.length > 0) throw new ModelError(`${folder}: no way to compute ${missing.join(", ")}.`);
  writeSafetensors(
    write,
    [...expected].map(([name, entry]) => [name, fitted(ours.get(name)!, entry)] as const),
  );
  return { tensors: expected.size, differences: differences(expected, ours) };
}

async function computeScores(
  setup: Setup,
  using: LoadedAdapters | null,
  batch: readonly Example[],
  runtime: Runtime,
  session: { threads: number },
): Promise<RowScores[]> {
  const { model, task } = setup;
  const adapters = using?.mounted ?? [];
  const runner = createRunner({ runtime, session, build: (shape) => logitsProgram({ model, task, adapters, shape }) });
  try {
    const facts = batchFacts(setup, virtualTokens(adapters));
    return await scoreRows(runner, batch, facts, using?.tensors ?? new Map(), { virtual: true });
  } finally {
    await runner.close();
  }
}

/** `adapter.loss`, and `grad.NAME` by PyTorch's names. */
async function lossAndGradients(
  setup: Setup,
  { adapters: [adapter], mounted }: LoadedAdapters,
  batch: readonly Example[],
  runtime: Runtime,
  session: { threads: number },
): Promise<Map<string, FloatTensor>> {
  const { model, task } = setup;
  const { method, tensors } = adapter!;
  const facts = batchFacts(setup, virtualTokens(mounted));
  const alone = [{ method, prefix: "", weight: 1 }];
  const runner = createRunner({
    runtime,
    session,
    build: (shape) => trainProgram({ model, task, adapters: alone, shape }),
  });
  try {
    const outputs = await runner.run(prepareBatch(batch, facts, 1 / countTargets(batch, facts)), tensors);
    const ours = new Map([["adapter.loss", floatTensor([1], Float32Array.of(Number(outputs.get("loss")!.data[0])))]]);
    for (const [key, { shape, torchName }] of method.parameters) {
      ours.set(
        `grad.${torchName ?? key}`,
        floatTensor(shape, (outputs.get(`grad.${key}`)!.data as Float32Array).slice()),
      );
    }
    return ours;
  } finally {
    await runner.close();
  }
}

/** Rows side by side as transformers pads them, on the right; 0 where nothing stands. */
function padded(rows: readonly RowScores[], { shape, name }: TensorEntry): FloatTensor {
  const out = new Float32Array(sizeOf(shape));
  const stride = out.length / rows.length;
  rows.forEach(({ scores }, row) => {
    if (scores.length > stride) {
      throw new FormatError(
        `${name}: the case has [${shape}], our row ${row} has ${scores.length} numbers. Its config or data differ.`,
      );
    }
    out.set(scores, row * stride);
  });
  return floatTensor(shape, out);
}

function fitted(tensor: FloatTensor, { shape, name }: TensorEntry): FloatTensor {
  if (tensor.data.length === sizeOf(shape)) return floatTensor(shape, tensor.data);
  throw new FormatError(`${name}: the case has [${shape}], ours is [${tensor.shape}].`);
}

/** The first extent of the logits. */
function batchSize(expected: ReadonlyMap<string, TensorEntry>): number {
  const logits = [...expected.values()].find(({ name }) => name.endsWith(".logits"));
  return logits?.shape[0] ?? 2;
}

function differences(
  expected: ReadonlyMap<string, TensorEntry>,
  ours: ReadonlyMap<string, FloatTensor>,
): Record<string, number> {
  const worst: Record<string, number> = {};
  for (const [name, entry] of expected) {
    const kind = name.startsWith("grad.") ? "grad" : name;
    const absolute = name.endsWith(".logits");
    const wanted = toFloat32(readTensor(entry));
    const got = ours.get(name)!.data;
    let [difference, largest] = [0, 0];
    got.forEach((value, i) => {
      if (absolute && value === 0) return; // padding
      const each = Math.abs(value - wanted[i]!);
      if (!(each <= difference)) difference = each;
      largest = Math.max(largest, Math.abs(wanted[i]!));
    });
    const measured = absolute ? difference : difference / largest;
    if (!(measured <= (worst[kind] ?? 0)) || worst[kind] === undefined) worst[kind] = measured;
  }
  return worst;
}
