/** Adapters as plain low-rank factors: what arithmetic and conversions between formats work on, and PEFT folders of it. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writtenFields } from "../adapters/bind.ts";
import { PEFT_VERSION } from "../adapters/config-fields.ts";
import { type LoraConfig, loraConfig, loraScaling } from "../adapters/lora-config.ts";
import { CONFIG_FILE, openPeftFolder, type PeftFolder, WEIGHTS_FILE } from "../adapters/peft-folder.ts";
import { matches, patternValue } from "../adapters/targets.ts";
import { AdapterMismatchError, UsageError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { readTensor, type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sizeOf } from "../tensor/shape.ts";

/** ΔW [out, in] = scaling · B · A; for an embedding `in` is its rows and `out` its width. */
export interface LowRank {
  readonly rank: number;
  readonly in: number;
  readonly out: number;
  /** [rank, in] */
  readonly A: ArrayLike<number>;
  /** [out, rank] */
  readonly B: ArrayLike<number>;
  readonly scaling: number;
  readonly embedding: boolean;
}

export interface LoraFile {
  /** What errors call it. */
  readonly path: string;
  readonly config: LoraConfig;
  /** By the module's name in the base. */
  readonly modules: ReadonlyMap<string, LowRank>;
}

const KEY = /^base_model\.model\.(.+?)\.lora_(embedding_)?([AB])(?:\.weight)?$/;
const LISTED = 20;

/**
 * Reads a PEFT LoRA folder. Throws UsageError for what is more than low-rank factors (other methods, DoRA, biases,
 * whole modules), AdapterMismatchError for factors without a partner or that do not fit each other.
 */
export function readLora(path: string): LoraFile {
  const folder = openPeftFolder(path);
  const { config } = folder;
  if (config.peft_type !== "LORA") {
    throw new UsageError(`${path} is a ${config.peft_type} adapter, needed LoRA. Merge it into a model instead.`);
  }
  const halves = new Map<string, Map<string, { shape: readonly number[]; data: Float32Array }>>();
  const others: string[] = [];
  for (const [key, entry] of folder.tensors) {
    const [, module, embedding = "", half] = KEY.exec(key) ?? [];
    if (module === undefined) others.push(key);
    else {
      const slot = halves.get(`${embedding}${module}`) ?? new Map();
      halves.set(`${embedding}${module}`, slot.set(half, { shape: entry.shape, data: toFloat32(readTensor(entry)) }));
    }
  }
  const modules = new Map<string, LowRank>();
  const problems: string[] = [];
  for (const [slot, pair] of halves) {
    const embedding = slot.startsWith("embedding_");
    const module = embedding ? slot.slice("embedding_".length) : slot;
    const [A, B] = [pair.get("A"), pair.get("B")];
    if (!A || !B) problems.push(`${module}: has only ${A ? "A" : "B"}`);
    else if (A.shape.length !== 2 || B.shape.length !== 2 || A.shape[0] !== B.shape[1] || sizeOf(A.shape) === 0) {
      problems.push(`${module}: A [${A.shape}] and B [${B.shape}] do not fit, needed [r, in] and [out, r]`);
    } else {
      const rank = A.shape[0]!;
      const alpha = patternValue(module, config.alpha_pattern, config.lora_alpha);
      const scaling = loraScaling(config, rank, alpha);
      modules.set(module, { rank, in: A.shape[1]!, out: B.shape[0]!, A: A.data, B: B.data, scaling, embedding });
    }
  }
  if (problems.length > 0) throw misfit(path, problems);
  if (modules.size === 0) throw misfit(path, ["no tensor lora_A or lora_B"]);
  refuseMore(folder, config, others, modules);
  return { path, config, modules };
}

/** Whatever low-rank factors alone do not say. */
function refuseMore(
  { path }: PeftFolder,
  config: LoraConfig,
  others: readonly string[],
  modules: ReadonlyMap<string, LowRank>,
): void {
  if (config.use_dora) {
    throw new UsageError(
      `${path} is a DoRA adapter, whose update is no sum of low-rank factors. Merge it into a model instead.`,
    );
  }
  // PEFT stores whole embeddings beside adapted ones; they are the base's.
  const copies = [...modules].some(([, { embedding }]) => embedding);
  const more = others.filter((key) => {
    const name = key.replace(/^base_model\.model\./, "").replace(/(\.base_layer)?\.weight$/, "");
    return !modules.has(name) && !(copies && /(^|\.)(lm_head|embed_out)$/.test(name));
  });
  if (more.length > 0) {
    throw new UsageError(
      `${path} holds more than low-rank factors: ${more.slice(0, LISTED).join(", ")}${more.length > LISTED ? ` and ${more.length - LISTED} more` : ""}. ` +
        "Biases, whole modules and single tokens have no such form. Merge it into a model instead.",
    );
  }
}

function misfit(path: string, problems: readonly string[]): AdapterMismatchError {
  const more = problems.length > LISTED ? `\n  and ${problems.length - LISTED} more` : "";
  const lines = problems.slice(0, LISTED).map((each) => `\n  ${each}`);
  return new AdapterMismatchError(
    `${path} is no whole LoRA adapter:${lines.join("")}${more}\nCopy or train it again.`,
    problems,
  );
}

/** Writes a PEFT folder: ranks and scalings that differ go into rank_pattern and alpha_pattern. */
export function writeLora(out: string, config: LoraConfig, modules: ReadonlyMap<string, LowRank>): void {
  const ranks = [...modules.values()].map(({ rank }) => rank);
  const r = Math.max(...ranks);
  const [first] = modules.values();
  const alphaOf = ({ rank, scaling }: LowRank): number => scaling * rank;
  const lora_alpha = alphaOf([...modules.values()].find(({ rank }) => rank === r) ?? first!);
  const differing = (value: (each: LowRank) => number, common: number): Record<string, number> =>
    Object.fromEntries(
      [...modules].filter(([, each]) => value(each) !== common).map(([module, each]) => [module, value(each)]),
    );
  const rank_pattern = differing(({ rank }) => rank, r);
  const alpha_pattern = differing(alphaOf, lora_alpha);
  const written: LoraConfig = { ...config, r, lora_alpha, rank_pattern, alpha_pattern, use_rslora: false };
  const tensors = new Map<string, WritableTensor>();
  for (const [module, { rank, in: width, out: height, A, B, embedding }] of modules) {
    const at = `base_model.model.${module}.lora_${embedding ? "embedding_" : ""}`;
    const end = embedding ? "" : ".weight";
    tensors.set(`${at}A${end}`, { dtype: "f32", shape: [rank, width], data: Float32Array.from(A) });
    tensors.set(`${at}B${end}`, { dtype: "f32", shape: [height, rank], data: Float32Array.from(B) });
  }
  mkdirSync(out, { recursive: true });
  writeSafetensors(join(out, WEIGHTS_FILE), tensors, { format: "pt" });
  const fields = { ...writtenFields(written), inference_mode: true, peft_version: PEFT_VERSION };
  writeJsonAtomic(
    join(out, CONFIG_FILE),
    Object.fromEntries(Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
}

/** A configuration for factors whose training is over: what PEFT needs to load `modules`, and nothing of dropout. */
export function plainConfig(
  modules: Iterable<string>,
  { task_type = null, base_model_name_or_path = null, fan_in_fan_out = false }: Partial<LoraConfig>,
): LoraConfig {
  return loraConfig({
    target_modules: [...new Set([...modules].map(endOf))].toSorted(byName),
    task_type,
    base_model_name_or_path,
    fan_in_fan_out,
  });
}

/** The end of a module's name, as target_modules lists it; of a numbered one the whole name. */
function endOf(module: string): string {
  const end = module.slice(module.lastIndexOf(".") + 1);
  return /^\d+$/.test(end) ? module : end;
}

/** Targets that select every module of all the files: their lists together, or whole names where rules are finer. */
export function joinedTargets(
  files: readonly LoraFile[],
): Pick<LoraConfig, "target_modules" | "exclude_modules" | "layers_to_transform" | "layers_pattern"> {
  const none = { exclude_modules: null, layers_to_transform: null, layers_pattern: null };
  const names = [...new Set(files.flatMap(({ modules }) => [...modules.keys()]))].toSorted(byName);
  const simple = files.every(
    ({ config }) =>
      Array.isArray(config.target_modules) && !config.exclude_modules && (config.layers_to_transform ?? null) === null,
  );
  if (!simple) return { target_modules: names, ...none };
  const listed = [...new Set(files.flatMap(({ config }) => config.target_modules as readonly string[]))].toSorted(
    byName,
  );
  return { target_modules: names.every((name) => matches(name, listed)) ? listed : names, ...none };
}

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}
