/** Opens a checkpoint folder as a model: its architecture, its configuration, and where every tensor lies. */

import { ModelError } from "../errors.ts";
import { openCheckpoint } from "../files/checkpoint.ts";
import type { TensorEntry } from "../files/safetensors.ts";
import { folderName } from "../files/snapshot-path.ts";
import type { Value } from "../graph/graph.ts";
import type { Task } from "../task.ts";
import { sameShape } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import type { ArchitectureFacts } from "./architecture.ts";
import type { RawConfig } from "./config.ts";
import { type AnyArchitecture, findArchitecture } from "./registry.ts";
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
  /** The weight files, links resolved. */
  readonly files: readonly string[];
}

/** Opens a Hugging Face folder. Reads headers only. Throws ModelError for what cannot be read as a known model. */
export function openModel(folder: string): Model {
  const { config: rawConfig, tensors } = openCheckpoint(folder);
  const architecture = findArchitecture(rawConfig["model_type"], `${folder}/config.json`);
  const source = checkpointSource(folder, architecture, tensors);
  return {
    name: folderName(folder),
    folder,
    rawConfig,
    architecture,
    config: architecture.configure(rawConfig),
    source,
    weights: (stream, replaced) => checkpointWeights(source, stream, replaced),
    files: [...new Set([...tensors.values()].map(({ path }) => path))].toSorted((a, b) => (a < b ? -1 : 1)),
  };
}

/**
 * Names and shapes of the task's model, checked against the checkpoint: one ModelError lists every tensor that is
 * missing or has another shape. Tensors named in `absent` may be missing (heads that are trained from scratch).
 */
export function traceChecked(model: Model, task: Task, absent: (name: string) => boolean = () => false): ModelTrace {
  if (!model.architecture.heads[task]) {
    const known = Object.keys(model.architecture.heads);
    throw new ModelError(
      `${model.folder}: a ${model.rawConfig["model_type"]} model has no ${task} head here; it has ${known.join(", ")}`,
    );
  }
  const trace = traceModel(model.architecture, model.config, task);
  const problems: string[] = [];
  for (const [name, shape] of trace.tensors) {
    try {
      if (!absent(name) || model.source.has(name)) model.source.find(name, shape);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      problems.push(`  ${error.message}`);
    }
  }
  if (problems.length === 0) return trace;
  throw new ModelError(
    `${model.folder} does not hold the tensors that its config.json describes:\n${problems.slice(0, 20).join("\n")}` +
      `${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ""}\nDownload the model again, config.json and weights of one revision.`,
  );
}

/** The task that the checkpoint was saved for, by its `architectures`; null when it names none that is known. */
export function checkpointTask(config: RawConfig): Task | null {
  const names = config["architectures"];
  const name = Array.isArray(names) ? String(names[0]) : "";
  if (/ForCausalLM$|LMHeadModel$/.test(name)) return "causal-lm";
  if (/ForMaskedLM$/.test(name)) return "masked-lm";
  if (/ForTokenClassification$/.test(name)) return "token-classification";
  if (/ForSequenceClassification$/.test(name)) {
    return config["problem_type"] === "regression" ? "regression" : "sequence-classification";
  }
  return null;
}

function checkpointSource(
  folder: string,
  architecture: AnyArchitecture,
  tensors: ReadonlyMap<string, TensorEntry>,
): TensorSource {
  const locate = (name: string): TensorEntry | undefined => {
    for (const spelling of spellings(architecture, name)) {
      const entry = tensors.get(spelling);
      if (entry) return entry;
    }
    return undefined;
  };
  return {
    has: (name) => locate(name) !== undefined,
    find: (name, shape): StoredTensor => {
      const entry = locate(name);
      if (!entry) throw new ModelError(`${name}: missing, needed [${shape}]`);
      if (!sameShape(entry.shape, shape)) {
        throw new ModelError(`${name}: has shape [${entry.shape}], needed [${shape}] (in ${folder})`);
      }
      const { dtype } = entry;
      if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") {
        throw new ModelError(`${name}: stored as ${entry.storedType}, needed F32, F16 or BF16`);
      }
      return { dtype, shape: entry.shape, path: entry.path, offset: entry.offset, byteLength: entry.byteLength };
    },
  };
}

/** Names under which a tensor may lie: today's, the headless one without the base model's prefix, older ones. */
function spellings(architecture: AnyArchitecture, name: string): string[] {
  const { basePrefix } = architecture;
  const all = [name, ...(architecture.spellings?.(name) ?? [])];
  return all.flatMap((each) => (each.startsWith(basePrefix) ? [each, each.slice(basePrefix.length)] : [each]));
}
