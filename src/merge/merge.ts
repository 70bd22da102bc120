/** The library's `merge()`: writes the merged model, opens what was written, and measures what merging changed. */

import { existsSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type FloatType, mergedTensors, type WeightedAdapter } from "../adapters/merge.ts";
import type { Example } from "../data/example.ts";
import { UsageError } from "../errors.ts";
import { type AdapterChoice, openAdapters, settleWithAdapters, warnOfBases } from "../evaluate/adapters.ts";
import { createScorer, randomRows, type Scored } from "../evaluate/scorer.ts";
import { exportGguf, type GgufType } from "../gguf/export.ts";
import { unpackGguf } from "../gguf/unpack.ts";
import { checkpointTask, openModel, traceChecked } from "../models/open.ts";
import type { QuantType } from "../precision/blocks.ts";
import { atPrecision, type Precision, QUANT_TYPE } from "../precision/precision.ts";
import { openBase, type Setup } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import type { Task } from "../task.ts";
import { saveFullModel } from "../train/save-full.ts";

export interface MergeInput {
  /** Hugging Face folder of the base, or embedded:NAME. */
  readonly model: string;
  /** Merged together, as a weighted sum. */
  readonly adapters: readonly AdapterChoice[];
  /** Folder for the merged model, or a file FILE.gguf for llama.cpp. */
  readonly out: string;
  /** Type of the written weights; null: the checkpoint's own. q8_0 is GGUF's alone. */
  readonly dtype?: GgufType | null;
  readonly threads?: number;
  /** int4: merge into the numbers that four bits stand for, which an adapter trained on them fits best. */
  readonly precision?: Exclude<Precision, "int8" | "native">;
  /** What four bits stand for. */
  readonly quantType?: QuantType;
  /** Folder for quantised copies and what is made of GGUF files; null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
  /** Told of what is no error: an adapter that names another base. */
  readonly onWarning?: (message: string) => void;
}

export interface MergeResult {
  readonly out: string;
  readonly dtype: GgufType;
  /** Largest difference between logits of the merged model, as written, and of base and adapters, on probe rows. */
  readonly maxAbsDiff: number;
}

const TYPE_NAMES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const;
const PROBE_ROWS = 4;
const PROBE_TOKENS = 24;

/** Merges and measures. Throws UsageError for adapters that cannot be merged, LowrankError for files. */
export async function mergeHere(input: MergeInput, runtime: Runtime): Promise<MergeResult> {
  const { model: name, adapters: choices, out, dtype: asked = null, threads = 2, cacheDir = null } = input;
  if (choices.length === 0) throw new UsageError("Nothing to merge: name at least one --adapter.");
  const base = openBase(name, cacheDir);
  refuseOwnFolder(base.model.folder, out);
  const opened = openAdapters(choices);
  const { setup: stored, loaded } = settleWithAdapters(base, opened, null);
  const { precision = "fp32", quantType = QUANT_TYPE } = input;
  const model = await atPrecision(stored, { precision, quantType, cacheDir }, runtime);
  const setup: Setup = { ...stored, model };
  warnOfBases(opened, base, name, input.onWarning);
  const weighted = loaded.adapters.map((adapter, i) => ({ ...choices[i]!, adapter }));
  const gguf = out.endsWith(".gguf");
  if (asked === "q8_0" && !gguf) throw new UsageError(`--dtype q8_0 is GGUF's alone. Name a file: --out ${out}.gguf.`);
  const written = gguf ? writeGgufFile(setup, weighted, out, asked) : null;
  const dtype = written?.dtype ?? writeMerged(setup, weighted, out, asked as FloatType | null);
  const merged = openModel(written?.folder ?? out);
  const mergedSetup: Setup = { ...setup, model: merged, trace: traceChecked(merged, setup.task) };
  const probes = randomRows(setup, PROBE_ROWS, PROBE_TOKENS);
  const [before, after] = [
    await scoreAll({ setup, ...loaded }, probes, runtime, threads),
    await scoreAll({ setup: mergedSetup, mounted: [], tensors: new Map() }, probes, runtime, threads),
  ];
  let maxAbsDiff = 0;
  before.forEach((row, i) => {
    row.forEach((value, j) => {
      const difference = Math.abs(value - after[i]![j]!);
      if (!(difference <= maxAbsDiff)) maxAbsDiff = difference; // NaN too
    });
  });
  if (written) rmSync(written.scratch, { recursive: true });
  return { out, dtype, maxAbsDiff };
}

interface WrittenGguf {
  readonly dtype: GgufType;
  /** What the file's numbers are, as a folder inside `scratch`. */
  readonly folder: string;
  readonly scratch: string;
}

/** The merged model as a GGUF file, and that file unpacked again, to be measured. */
function writeGgufFile(
  setup: Setup,
  adapters: readonly WeightedAdapter[],
  out: string,
  asked: GgufType | null,
): WrittenGguf {
  const scratch = mkdtempSync(join(dirname(resolve(out)), ".lowrank-merge-"));
  try {
    const folder = join(scratch, "merged");
    const own = writeMerged(setup, adapters, folder, asked === "q8_0" ? "f32" : asked);
    const dtype = asked ?? own;
    exportGguf(folder, out, dtype);
    rmSync(folder, { recursive: true });
    return { dtype, folder: unpackGguf(out, scratch), scratch };
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    throw error;
  }
}

/** Writes the folder; returns the type that its weights have. */
export function writeMerged(
  { model, trace, task }: Setup,
  adapters: readonly WeightedAdapter[],
  out: string,
  asked: FloatType | null,
): FloatType {
  const { tensors, dtype, untied } = mergedTensors(model, trace, adapters, asked);
  saveFullModel(out, model, tensors, {
    dtype: TYPE_NAMES[dtype],
    ...(untied.length > 0 ? { tie_word_embeddings: false } : {}),
    ...(checkpointTask(model.rawConfig) === task
      ? {}
      : { architectures: architecturesFor(model.rawConfig["architectures"], task) }),
  });
  // Shards of a model that was there before would stand beside the new file.
  rmSync(join(out, "model.safetensors.index.json"), { force: true });
  return dtype;
}

/** transformers' class for a task, from the class that the checkpoint names: "LlamaForCausalLM" → "Llama…". */
function architecturesFor(names: unknown, task: Task): unknown {
  const suffix: Readonly<Record<Task, string>> = {
    "causal-lm": "ForCausalLM",
    "masked-lm": "ForMaskedLM",
    "sequence-classification": "ForSequenceClassification",
    "multi-label-classification": "ForSequenceClassification",
    regression: "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "sentence-embedding": "Model",
    "sentence-similarity": "Model",
  };
  const [name] = Array.isArray(names) ? names : [];
  if (typeof name !== "string") return names;
  return [
    name === "GPT2LMHeadModel" && task === "causal-lm"
      ? name
      : name.replace(/(For[A-Z]\w*|LMHeadModel|Model)$/, "") + suffix[task],
  ];
}

function refuseOwnFolder(folder: string, out: string): void {
  if (existsSync(out) && realpathSync(out) === realpathSync(folder)) {
    throw new UsageError(`--out ${out} is the model itself. Choose another folder.`);
  }
}

/** The scores of every row, by a session that is closed again. */
async function scoreAll(
  scored: Scored,
  rows: readonly Example[],
  runtime: Runtime,
  threads: number,
): Promise<Float32Array[]> {
  const scorer = createScorer(scored, runtime, { threads });
  try {
    return (await scorer.score(rows)).map(({ scores }) => scores);
  } finally {
    await scorer.close();
  }
}
