/**
 * LoRA adapters of llama.cpp. Source of the layout: llama.cpp `src/llama-adapter.cpp`, `convert_lora_to_gguf.py`:
 * tensors `<base tensor>.lora_a` [r, in] and `.lora_b` [out, r] (of the token embedding A is [rows, r]), one α for all.
 */

import { AdapterMismatchError, FormatError, UsageError } from "../errors.ts";
import { openGguf } from "../files/gguf.ts";
import { type GgufScalar, type GgufTensor, plainTensor, writeGguf } from "../files/gguf-writer.ts";
import { readTensor } from "../files/safetensors.ts";
import { type GgufArchitecture, ggufArchitecture, ggufName, moduleName } from "../gguf/names.ts";
import { permutedHeads, permuteRows } from "../gguf/rows.ts";
import { findArchitecture } from "../models/registry.ts";
import { traceModel } from "../models/trace.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import { type LoraFile, type LowRank, plainConfig } from "./lora-file.ts";

export type BaseConfig = Readonly<Record<string, unknown>>;

const EMBEDDING = "token_embd.weight";

/** Writes an adapter for the base that `base` (its config.json) describes. Throws UsageError for modules without a place. */
export function writeGgufAdapter(out: string, { config, modules }: LoraFile, base: BaseConfig, where: string): void {
  const architecture = ggufArchitecture(base["model_type"], where);
  const alpha = [...modules.values()].map(({ scaling, rank }) => scaling * rank).find((each) => each !== 0) ?? 1;
  const metadata = new Map<string, GgufScalar>([
    ["general.architecture", architecture.name],
    ["general.type", "adapter"],
    ["adapter.type", "lora"],
    ["adapter.lora.alpha", { f32: alpha }],
    ["general.file_type", { u32: 0 }],
  ]);
  if (config.base_model_name_or_path) metadata.set("general.base_model.0.name", config.base_model_name_or_path);
  const tensors = new Map<string, GgufTensor>();
  for (const [module, { rank, in: width, out: height, A, B, scaling, embedding }] of modules) {
    const name = ggufName(module, architecture);
    if (embedding !== (name === EMBEDDING)) throw new UsageError(`${module}: llama.cpp takes no such adapter of it.`);
    // llama.cpp scales by α / rank: what a module has more or less goes into its B.
    const factor = scaling / (Math.fround(alpha) / rank);
    const scaled = Float32Array.from(B, (value) => value * factor);
    const heads = permutedHeads(name, architecture, base, where);
    const a = embedding ? transpose(A, rank, width) : A;
    tensors.set(`${name}.lora_a`, plainTensor(embedding ? [width, rank] : [rank, width], Float32Array.from(a)));
    const b = heads === null ? scaled : permuteRows(scaled, height, rank, heads, false);
    tensors.set(`${name}.lora_b`, plainTensor([height, rank], b));
  }
  refuseShared(modules.keys(), architecture, base, where);
  writeGguf(out, metadata, tensors);
}

/** llama.cpp has one tensor for embedding and tied head: it finds no head to adapt, and ends when it meets an embedding's adapter there. */
function refuseShared(
  modules: Iterable<string>,
  architecture: GgufArchitecture,
  base: BaseConfig,
  where: string,
): void {
  const { embedding, output, name } = architecture;
  const shared = [...modules].filter((module) => module === embedding || module === output);
  if (shared.length === 0) return;
  const model = findArchitecture(base["model_type"], where);
  const heads = traceModel(model, model.configure(base), "causal-lm").modules.values();
  if (![...heads].some((module) => module.kind === "linear" && module.head && module.spec.weight !== undefined)) return;
  throw new UsageError(
    `${shared.join(" and ")}: this ${name} base has one matrix for embedding and head, and llama.cpp takes no adapter of it. Merge instead: lowrank merge --out FILE.gguf.`,
  );
}

/** Reads an adapter of llama.cpp. Throws FormatError or AdapterMismatchError for what llama.cpp refuses too. */
export function readGgufAdapter(path: string, base: BaseConfig, where: string): LoraFile {
  const { metadata, tensors } = openGguf(path);
  const kind = metadata.get("general.type");
  if (kind !== "adapter" || metadata.get("adapter.type") !== "lora") {
    throw new FormatError(`${path}: general.type is ${JSON.stringify(kind ?? null)}, needed a LoRA adapter.`);
  }
  const architecture = ggufArchitecture(base["model_type"], where);
  const named = metadata.get("general.architecture");
  if (named !== architecture.name) {
    throw new AdapterMismatchError(
      `${path} is an adapter of a ${String(named)} model, ${where} is ${architecture.name} to GGUF. Give its own base as --model.`,
      [`architecture ${String(named)}`],
    );
  }
  const alpha = metadata.get("adapter.lora.alpha") ?? 0;
  if (typeof alpha !== "number") throw new FormatError(`${path}: adapter.lora.alpha is no number. Convert it anew.`);
  const modules = new Map<string, LowRank>();
  const problems: string[] = [];
  const ends = [".lora_a", ".lora_b"];
  for (const [key, entry] of tensors) {
    const end = ends.find((each) => key.endsWith(each));
    const name = end === undefined ? "" : key.slice(0, -end.length);
    const module = end === undefined ? null : moduleName(name, architecture);
    const pair = ends.map((each) => tensors.get(name + each));
    if (module === null || entry.shape.length !== 2) problems.push(`${key}: not known for ${architecture.name}`);
    else if (!pair[0] || !pair[1]) problems.push(`${key}: its other half is missing`);
    else if (end === ".lora_a") {
      const embedding = name === EMBEDDING;
      const [first, second] = entry.shape as [number, number];
      const [rank, width] = embedding ? [second, first] : [first, second];
      const [height, other] = pair[1].shape as [number, number];
      if (pair[1].shape.length !== 2 || other !== rank) {
        problems.push(`${key}: [${entry.shape}] and [${pair[1].shape}] do not fit`);
        continue;
      }
      const [a, b] = [toFloat32(readTensor(entry)), toFloat32(readTensor(pair[1]))];
      const heads = permutedHeads(name, architecture, base, where);
      modules.set(module, {
        rank,
        in: width,
        out: height,
        A: embedding ? transpose(a, width, rank) : a,
        B: heads === null ? b : permuteRows(b, height, rank, heads, true),
        scaling: alpha === 0 ? 1 : alpha / rank,
        embedding,
      });
    }
  }
  if (problems.length > 0 || modules.size === 0) {
    const lines = problems.slice(0, 20).map((each) => `\n  ${each}`);
    throw new AdapterMismatchError(
      `${path} is no whole adapter${lines.length > 0 ? ":" : ""}${lines.join("")}\nConvert it anew.`,
      problems,
    );
  }
  const name = metadata.get("general.base_model.0.name");
  const config = plainConfig(modules.keys(), {
    task_type: "CAUSAL_LM",
    base_model_name_or_path: typeof name === "string" ? name : null,
    fan_in_fan_out: architecture.name === "gpt2",
  });
  return { path, config, modules };
}
