/**
 * modules_to_save: modules that are trained and saved whole beside a method's own tensors, usually a head. In files
 * they stand under their own names (PEFT `utils/other.py`, ModulesToSaveWrapper).
 */

import { UsageError } from "../errors.ts";
import type { ModelTrace } from "../models/trace.ts";
import { matrixOf } from "../models/weights.ts";
import { sizeOf } from "../tensor/shape.ts";
import { TASK_HEADS } from "./config-fields.ts";
import { normals } from "./lora-init.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { wholeTensors } from "./whole.ts";

export interface SavedTensors {
  /** Whether a module lies in one of the saved ones. */
  covers(module: string): boolean;
  /** The saved module that holds a tensor; null for none. */
  holder(tensor: string): string | null;
}

/**
 * Which modules and tensors the names of modules_to_save take in: whatever ends with one of them, and all below. As in
 * PEFT the end need not be a whole word: `classifier` takes in DistilBERT's `pre_classifier`, too.
 */
export function savedTensors(names: readonly string[]): SavedTensors {
  const holder = (path: string): string | null => {
    if (names.length === 0) return null;
    const parts = path.split(".");
    for (let length = 1; length <= parts.length; length++) {
      const module = parts.slice(0, length).join(".");
      if (names.some((name) => module.endsWith(name))) return module;
    }
    return null;
  };
  return { covers: (module) => holder(module) !== null, holder };
}

/** Of a module: heads that read its matrix, and the module itself if it reads another's: tied embeddings. */
export function readersIn(trace: ModelTrace): (module: string) => readonly string[] {
  const readers = new Map<string, string[]>();
  const reading = new Set<string>();
  for (const each of trace.modules.values()) {
    if (each.kind !== "linear" || !each.spec.weight) continue;
    reading.add(each.name);
    readers.set(each.spec.weight, [...(readers.get(each.spec.weight) ?? []), each.name]);
  }
  return (module) => (reading.has(module) ? [module] : (readers.get(`${module}.weight`) ?? []));
}

/**
 * The modules as a method of their own. In `strict` a name that the model lacks is an error, unless PEFT adds it. `root`
 * begins their names in files: PEFT wraps the model once more for methods that adapt layers than for prompts.
 */
export function savedModules(
  trace: ModelTrace,
  {
    modules_to_save,
    task_type,
  }: { readonly modules_to_save: readonly string[] | null; readonly task_type: string | null },
  { strict, root = ROOT }: { readonly strict: boolean; readonly root?: string },
): BoundMethod {
  const names = modules_to_save ?? [];
  const { covers, holder } = savedTensors(names);
  const readersOf = readersIn(trace);
  const tied = [...trace.modules.values()].flatMap((module) =>
    module.kind === "linear" && module.spec.weight && covers(module.name)
      ? [{ module: module.name, checkpoint: module.spec.weight, shape: matrixOf(module.name, module.spec).shape }]
      : [],
  );
  const tables = new Map<string, Parameter>();
  const tensors = new Map<string, Parameter>();
  for (const [name, shape] of trace.tensors) {
    const module = holder(name.slice(0, name.lastIndexOf(".")));
    if (module === null) continue;
    const parameter = savedParameter(root, name, module, shape, name);
    const table = name.replace(/\.weight$/, "");
    if (readersOf(table).some((reader) => reader !== table)) tables.set(table, parameter);
    else tensors.set(name, parameter);
  }
  for (const { module, checkpoint, shape } of tied) {
    tensors.set(`${module}.weight`, savedParameter(root, `${module}.weight`, holder(module)!, shape, checkpoint));
  }
  const held = [...tensors.keys(), ...[...tables.keys()].map((table) => `${table}.weight`)];
  const expected = TASK_HEADS[task_type ?? ""] ?? [];
  const lacking = names.filter((name) => !held.some((each) => savedTensors([name]).covers(each)));
  const unknown = lacking.filter((name) => !expected.includes(name));
  if (strict && unknown.length > 0) {
    const known = [...trace.modules.keys()].map((name) => name.slice(name.lastIndexOf(".") + 1));
    throw new UsageError(
      `modules_to_save ${unknown.join(", ")} match nothing in this model. It has ${[...new Set(known)].join(", ")}.`,
    );
  }
  return wholeTensors({
    tensors,
    tables,
    untied: tied.map(({ module }) => module),
    unties: [...tables.keys()].flatMap(readersOf).concat(tied.map(({ module }) => module)),
  });
}

const ROOT = "base_model.model.";
/** Of prompt and prefix methods. */
export const PROMPT_ROOT = "base_model.";

/** A saved tensor's name in the model, by its key in a file. */
export function savedName(key: string): string {
  return key.replace(/^base_model\.(model\.)?/, "");
}

function savedParameter(
  root: string,
  name: string,
  module: string,
  shape: readonly number[],
  checkpoint: string,
): Parameter {
  const inner = name.slice(module.length + 1);
  return {
    key: `${root}${name}`,
    torchName: `${root}${module}.modules_to_save.${inner}`,
    shape,
    init: null,
    checkpoint,
    fresh: freshValues(name, shape),
  };
}

/** Of a tensor that the checkpoint lacks, as transformers fills new heads: matrices normal, biases 0, gains 1. */
export function freshValues(name: string, shape: readonly number[], deviation = 0.02): NonNullable<Parameter["fresh"]> {
  const size = sizeOf(shape);
  if (shape.length > 1) return (random) => normals(size, deviation, random);
  return () => new Float32Array(size).fill(name.endsWith(".weight") ? 1 : 0);
}
