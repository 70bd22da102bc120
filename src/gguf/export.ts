/**
 * A Hugging Face folder as one GGUF file that llama.cpp loads.
 * Source of keys and conventions: llama.cpp `convert_hf_to_gguf.py`, `gguf-py/gguf/constants.py`.
 */

import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ModelError } from "../errors.ts";
import { type GgufScalar, type GgufTensor, writeGguf } from "../files/gguf-writer.ts";
import { isRecord, readJsonObject } from "../files/json-file.ts";
import { openSafetensors, readTensor, type TensorEntry } from "../files/safetensors.ts";
import { fromFloat32, toFloat32 } from "../tensor/convert.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import { sizeOf } from "../tensor/shape.ts";
import { quantiseEight } from "./blocks.ts";
import type { Config } from "./config.ts";
import { type GgufArchitecture, ggufArchitecture, ggufTensorName } from "./names.ts";
import { permutedHeads, permuteRows } from "./rows.ts";
import { tokenizerMetadata } from "./tokenizer-export.ts";

export const GGUF_TYPES = ["f32", "f16", "bf16", "q8_0"] as const;

export type GgufType = (typeof GGUF_TYPES)[number];

/** llama.cpp's number of the file type, and ggml's of the tensors'. */
const NUMBERS: Readonly<Record<GgufType, { readonly file: number; readonly tensor: number }>> = {
  f32: { file: 0, tensor: 0 },
  f16: { file: 1, tensor: 1 },
  bf16: { file: 32, tensor: 30 },
  q8_0: { file: 7, tensor: 8 },
};

/** Writes `folder` (one model.safetensors) as the file `out`. Throws ModelError for models without a form in GGUF. */
export function exportGguf(folder: string, out: string, type: GgufType): void {
  const config = readJsonObject(join(folder, "config.json"));
  const architecture = ggufArchitecture(config["model_type"], folder);
  if (!architecture.base) throw new ModelError(`${folder}: whole ${architecture.name} models are not written as GGUF.`);
  const { tensors } = openSafetensors(join(folder, "model.safetensors"));
  const written = new Map<string, GgufTensor>();
  const unknown: string[] = [];
  for (const [name, entry] of tensors) {
    const ggufName = ggufTensorName(name, architecture);
    if (ggufName === null) unknown.push(name);
    else written.set(ggufName, encoded(ggufName, entry, { config, architecture, type, folder }));
  }
  if (unknown.length > 0) {
    throw new ModelError(
      `${folder}: ${unknown.slice(0, 10).join(", ")} have no place in a GGUF file of ${architecture.name}.`,
    );
  }
  const embedding = written.get("token_embd.weight");
  if (!embedding) throw new ModelError(`${folder}: the token embedding is missing.`);
  const metadata = new Map<string, GgufScalar>([
    ["general.architecture", architecture.name],
    ["general.type", "model"],
    ["general.name", basename(out).replace(/\.gguf$/, "")],
    ["general.file_type", { u32: NUMBERS[type].file }],
    ["general.quantization_version", { u32: 2 }],
    ...modelMetadata(config, architecture, folder),
    [`${architecture.name}.vocab_size`, { u32: embedding.shape[0]! }],
    ...tokenizerOf(folder, embedding.shape[0]!),
  ]);
  writeGguf(out, metadata, written);
}

interface Encoding {
  readonly config: Config;
  readonly architecture: GgufArchitecture;
  readonly type: GgufType;
  readonly folder: string;
}

/** Matrices in the asked type where their rows fill blocks, all else in float32, as llama.cpp keeps it. */
function encoded(name: string, entry: TensorEntry, { config, architecture, type, folder }: Encoding): GgufTensor {
  const [rows = 1, columns = 1] = entry.shape;
  const inner = /^blk\.\d+\.(\w+)\.weight$/.exec(name)?.[1] ?? "";
  const turned = architecture.base!.turned && [...architecture.block.values()].includes(inner);
  const shape = turned ? [columns, rows] : entry.shape;
  const own: GgufType =
    shape.length < 2 || name === "position_embd.weight" || (type === "q8_0" && shape[1]! % 32 !== 0) ? "f32" : type;
  const gain = architecture.base!.gainLessOne && /norm\.weight$/.test(name);
  const values = (): Float32Array => {
    const read = toFloat32(readTensor(entry));
    const heads = permutedHeads(name, architecture, config, folder);
    if (heads !== null) return permuteRows(read, rows, columns, heads, false);
    if (turned) return Float32Array.from(transpose(read, rows, columns));
    return gain ? read.map((value) => value + 1) : read;
  };
  const bytes = (): Uint8Array => {
    if (own === "q8_0") return quantiseEight(values());
    const data = fromFloat32(values(), own);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
  const count = sizeOf(shape);
  const byteLength = own === "q8_0" ? (count / 32) * 34 : count * (own === "f32" ? 4 : 2);
  return { shape, type: NUMBERS[own].tensor, byteLength, bytes };
}

function modelMetadata(config: Config, { name }: GgufArchitecture, where: string): [string, GgufScalar][] {
  const number = (...fields: string[]): number => {
    const found = fields.map((field) => config[field]).find((value) => typeof value === "number");
    if (typeof found === "number") return found;
    throw new ModelError(`${where}/config.json: ${fields[0]} is missing, and a GGUF file needs it.`);
  };
  const width = number("hidden_size", "n_embd");
  const heads = number("num_attention_heads", "n_head");
  const whole = (key: string, value: number): [string, GgufScalar] => [`${name}.${key}`, { u32: value }];
  const common = [
    whole("context_length", number("max_position_embeddings", "n_positions")),
    whole("embedding_length", width),
    whole("block_count", number("num_hidden_layers", "n_layer")),
    whole("attention.head_count", heads),
  ];
  if (name === "gpt2") {
    const inner = typeof config["n_inner"] === "number" ? config["n_inner"] : 4 * width;
    const epsilon = config["layer_norm_epsilon"] ?? 1e-5;
    return [
      ...common,
      whole("feed_forward_length", inner),
      [`${name}.attention.layer_norm_epsilon`, { f32: Number(epsilon) }],
    ];
  }
  const headWidth = typeof config["head_dim"] === "number" ? config["head_dim"] : width / heads;
  return [
    ...common,
    whole("feed_forward_length", number("intermediate_size")),
    whole("attention.head_count_kv", number("num_key_value_heads", "num_attention_heads")),
    [`${name}.attention.layer_norm_rms_epsilon`, { f32: number("rms_norm_eps") }],
    whole("attention.key_length", headWidth),
    whole("attention.value_length", headWidth),
    whole("rope.dimension_count", headWidth),
    ...ropeMetadata(config, name, where),
  ];
}

function ropeMetadata(config: Config, name: string, where: string): [string, GgufScalar][] {
  const both = [config["rope_scaling"], config["rope_parameters"]].filter(isRecord);
  const rope: Config = Object.assign({}, ...both);
  const theta = rope["rope_theta"] ?? config["rope_theta"] ?? 10000;
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  const base: [string, GgufScalar] = [`${name}.rope.freq_base`, { f32: Number(theta) }];
  if (type === "default") return [base];
  if (type !== "linear" && type !== "yarn") {
    throw new ModelError(`${where}: rotary positions of the kind ${JSON.stringify(type)} are not written as GGUF.`);
  }
  const original = rope["original_max_position_embeddings"];
  return [
    base,
    [`${name}.rope.scaling.type`, type],
    [`${name}.rope.scaling.factor`, { f32: Number(rope["factor"]) }],
    ...(typeof original === "number"
      ? [[`${name}.rope.scaling.original_context_length`, { u32: original }] as [string, GgufScalar]]
      : []),
  ];
}

function tokenizerOf(folder: string, vocabulary: number): Map<string, GgufScalar> {
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) throw new ModelError(`${folder}: no tokenizer.json, without which a GGUF file is of no use.`);
  const settings = join(folder, "tokenizer_config.json");
  const config = existsSync(settings) ? readJsonObject(settings) : {};
  const jinja = join(folder, "chat_template.jinja");
  const inline = config["chat_template"];
  const template = existsSync(jinja) ? readFileSync(jinja, "utf8") : typeof inline === "string" ? inline : null;
  return tokenizerMetadata(path, readJsonObject(path), config, template, vocabulary);
}
