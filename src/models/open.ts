/** Opens a checkpoint folder as a model: its architecture, its configuration, and where every tensor lies. */

import { ModelError } from "../errors.ts";
import { openCheckpoint } from "../files/checkpoint.ts";
import { sampleFile } from "../files/fingerprint.ts";
import { readTensor } from "../files/safetensors.ts";
import { folderName } from "../files/snapshot-path.ts";
import type { Value } from "../graph/graph.ts";
import type { Task } from "../task.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type ArchitectureFacts, headOf, tasksOf } from "./architecture.ts";
import type { RawConfig } from "./config.ts";
import { type Pooling, readPooling } from "./pooling.ts";
import { type AnyArchitecture, findArchitecture } from "./registry.ts";
import { misfits, tensorSource } from "./source.ts";
import type { Stream } from "./stream.ts";
import { type ModelTrace, traceModel } from "./trace.ts";
import { checkpointWeights, type TensorSource, type Weights } from "./weights.ts";

export interface Model {
  /** Last path segment, or the hub's name of it: what reports and servers call it. */
  readonly name: string;
  readonly folder: string;
  readonly rawConfig: RawConfig;
  readonly architecture: AnyArchitecture;
  readonly config: ArchitectureFacts;
  readonly source: TensorSource;
  /** The base's weights, with `replaced` tensors in place of its own: float32 as stored, or a precision's. */
  weights(stream: Stream, replaced?: ReadonlyMap<string, Value>): Weights;
  /** A tensor as float32 in memory: as stored, or what a precision makes of it. Throws ModelError as source.find does. */
  read(name: string, shape: readonly number[]): Float32Array;
  /** How embeddings are made of its hidden states. */
  readonly pooling: Pooling;
  /** The weight files, links resolved. */
  readonly files: readonly string[];
}

/** Tells the content of a base's weight files: a hash of samples of each. */
export function weightsHash({ files }: Pick<Model, "files">): string {
  return files.map(sampleFile).join(" ");
}

/**
 * Opens a Hugging Face folder. Reads headers only. Throws ModelError for what cannot be read as a known model. `bare` opens
 * it without its weights, for a training that begins with new ones.
 */
export function openModel(folder: string, { bare = false }: { readonly bare?: boolean } = {}): Model {
  const { config: rawConfig, tensors } = openCheckpoint(folder, { bare });
  const architecture = findArchitecture(rawConfig["model_type"], `${folder}/config.json`);
  const source = tensorSource(folder, tensors, { spellings: (name) => spellings(architecture, name) });
  return {
    name: folderName(folder),
    folder,
    rawConfig,
    architecture,
    config: architecture.configure(rawConfig),
    source,
    pooling: readPooling(folder),
    weights: (stream, replaced) => checkpointWeights(source, stream, replaced),
    read: (name, shape) => toFloat32(readTensor({ ...source.find(name, shape), name, storedType: "" })),
    files: [...new Set([...tensors.values()].map(({ path }) => path))].toSorted((a, b) => (a < b ? -1 : 1)),
  };
}

/**
 * Names and shapes of the task's model, checked against the checkpoint: one ModelError lists every tensor that is
 * missing or has another shape. Tensors named in `absent` may be missing (heads that are trained from scratch).
 */
export function traceChecked(model: Model, task: Task, absent: (name: string) => boolean = () => false): ModelTrace {
  if (!headOf(model.architecture, task)) {
    const known = tasksOf(model.architecture);
    throw new ModelError(
      `${model.folder}: a ${model.rawConfig["model_type"]} model has no ${task} head here; it has ${known.join(", ")}`,
    );
  }
  const trace = traceModel(model.architecture, model.config, task);
  const problem = misfits(model.folder, model.source, trace.tensors, absent);
  if (problem) throw problem;
  return trace;
}

/** The task that the checkpoint was saved for, by its `architectures`; null when it names none that is known. */
export function checkpointTask(config: RawConfig): Task | null {
  const names = config["architectures"];
  const name = Array.isArray(names) ? String(names[0]) : "";
  if (/ForCausalLM$|LMHeadModel$/.test(name)) return "causal-lm";
  if (/ForMaskedLM$/.test(name)) return "masked-lm";
  if (/ForTokenClassification$/.test(name)) return "token-classification";
  if (/ForSequenceClassification$/.test(name)) {
    return rowTask(config["problem_type"]);
  }
  return null;
}

/** The task of a row's label by config.json's `problem_type`. */
export function rowTask(problem: unknown): Task {
  if (problem === "regression") return "regression";
  return problem === "multi_label_classification" ? "multi-label-classification" : "sequence-classification";
}

/** The model with these classes, for a head of `task` that its checkpoint lacks. */
export function withClasses(model: Model, names: readonly string[], task: Task): Model {
  const { num_labels: _older, ...raw } = model.rawConfig;
  const problems: Partial<Readonly<Record<Task, string>>> = {
    "sequence-classification": "single_label_classification",
    "multi-label-classification": "multi_label_classification",
    regression: "regression",
  };
  const rawConfig = {
    ...raw,
    id2label: Object.fromEntries(names.entries()),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
    ...(problems[task] ? { problem_type: problems[task] } : {}),
  };
  return { ...model, rawConfig, config: model.architecture.configure(rawConfig) };
}

/** Names under which a tensor may lie: today's, the headless one without the base model's prefix, older ones. */
function spellings(architecture: AnyArchitecture, name: string): string[] {
  const { basePrefix } = architecture;
  const all = [name, ...(architecture.spellings?.(name) ?? [])];
  return all.flatMap((each) => (each.startsWith(basePrefix) ? [each, each.slice(basePrefix.length)] : [each]));
}
