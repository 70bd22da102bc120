/** A pipeline as a diffusers folder, with some of its tensors in place of others. */

import { cpSync, existsSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { type FloatType, rounded } from "../adapters/merge.ts";
import { readVocabulary } from "../data/clip-tokenizer.ts";
import { writeFileAtomic, writeJsonAtomic } from "../files/atomic.ts";
import { readJsonObject } from "../files/json-file.ts";
import { makeFolder } from "../files/make-folder.ts";
import { type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { readTextFile } from "../files/text-file.ts";
import type { RawConfig } from "../models/config.ts";
import { type Component, readOwn } from "./component.ts";
import { componentsOf, type Pipeline, type TextEncoder } from "./pipeline.ts";
import { isSingleFile } from "./single-file.ts";
import { loadTokenizers } from "./text-encoding.ts";

export interface ChangedComponent {
  /** New values by the tensors' names, [out, in] of matrices; made when they are written. */
  readonly tensors: ReadonlyMap<string, () => Float32Array>;
  /** Type of all the component's tensors; null: each one's own. */
  readonly dtype: FloatType | null;
}

/** Files beside the components' folders that may be as large as the pipeline again. */
const WEIGHTS = /\.(safetensors|ckpt|bin|pt|pth|onnx|msgpack)$/;

/** Where a component's tensors are written in a diffusers folder. */
export function weightsFile(folder: string, component: string): string {
  const file = component.startsWith("text_encoder") ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
  return join(folder, component, file);
}

/**
 * Writes `out`, model_index.json last, so that a new folder is a pipeline once it is whole. Returns the files of the
 * components that have changed. Throws ModelError for a single file without a tokenizer.
 */
export function writePipeline(
  pipeline: Pipeline,
  out: string,
  changed: ReadonlyMap<string, ChangedComponent>,
): readonly string[] {
  makeFolder(out);
  const single = isSingleFile(pipeline.folder);
  if (single) loadTokenizers(pipeline); // told before anything is written, when there is none
  const written: string[] = [];
  const kept = new Set<string>();
  for (const [name, component] of componentsOf(pipeline)) {
    const file = weightsFile(out, name);
    const own = weightsFile(pipeline.folder, name);
    const change = changed.get(name);
    if (!single && !change && existsSync(own)) {
      kept.add(own);
      continue;
    }
    makeFolder(join(out, name));
    writeSafetensors(file, tensorsOf(component, change), { format: "pt" });
    if (change) written.push(file);
    writeConfig(pipeline, name, component.rawConfig, { out, dtype: change?.dtype ?? null });
  }
  if (single) writeSurroundings(pipeline, out);
  else copySurroundings(pipeline, out, kept);
  return written;
}

function* tensorsOf(
  component: Component<unknown>,
  { tensors = new Map(), dtype = null }: Partial<ChangedComponent> = {},
): Generator<[string, WritableTensor]> {
  for (const [name, shape] of component.trace.tensors) {
    const type = dtype ?? (component.source.find(name, shape).dtype as FloatType);
    const module = component.trace.modules.get(name.replace(/\.weight$/, ""));
    const turned = module?.kind === "linear" && module.spec.layout === "in,out";
    const values = tensors.get(name) ?? ((): Float32Array => readOwn(component, name).data);
    yield [
      name,
      { dtype: type, shape: turned ? shape.toReversed() : shape, data: () => rounded(values(), type, name) },
    ];
  }
}

const TYPE_NAMES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const;

/**
 * The configuration as its file spells it, for Python tells 1.0 from 1; with the type that the weights have now, in which
 * transformers would read them.
 */
function writeConfig(
  { configFolder }: Pipeline,
  name: string,
  raw: RawConfig,
  { out, dtype }: { readonly out: string; readonly dtype: FloatType | null },
): void {
  const path = join(out, name, "config.json");
  if (configFolder === null) {
    writeJsonAtomic(path, raw);
    return;
  }
  const text = readTextFile(join(configFolder, name, "config.json"));
  const typed = dtype === null ? text : text.replace(/("(?:torch_)?dtype"\s*:\s*")\w+"/, `$1${TYPE_NAMES[dtype]}"`);
  writeFileAtomic(path, new TextEncoder().encode(typed));
}

/** Everything of the folder but files of components that were written, and weights beside the ones that are read. */
function copySurroundings(pipeline: Pipeline, out: string, kept: ReadonlySet<string>): void {
  const { folder } = pipeline;
  const index = join(folder, "model_index.json");
  const components = [...componentsOf(pipeline).keys()].map((name) => join(folder, name));
  const wanted = (path: string): boolean => {
    if (path === index || statSync(path).isDirectory()) return path !== index;
    const own = components.find((each) => path.startsWith(join(each, sep)));
    if (own === undefined) return dirname(path) !== folder || !WEIGHTS.test(path);
    return kept.has(path) || (path === join(own, "config.json") && kept.has(weightsFile(folder, basename(own))));
  };
  cpSync(folder, out, { recursive: true, dereference: true, filter: wanted });
  cpSync(index, join(out, "model_index.json"), { dereference: true });
}

/** What a single file lacks: scheduler, tokenizers and the index. */
function writeSurroundings({ scheduler, textEncoders, zeroNegative }: Pipeline, out: string): void {
  makeFolder(join(out, "scheduler"));
  writeJsonAtomic(join(out, "scheduler", "scheduler_config.json"), scheduler);
  const index: Record<string, unknown> = {
    _class_name: textEncoders.length > 1 ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline",
    _diffusers_version: "0.30.0",
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
    scheduler: ["diffusers", scheduler["_class_name"]],
    ...(textEncoders.length > 1
      ? { force_zeros_for_empty_prompt: zeroNegative }
      : { safety_checker: [null, null], feature_extractor: [null, null], requires_safety_checker: false }),
  };
  for (const encoder of textEncoders) {
    const [kind] = encoder.rawConfig["architectures"] as readonly string[];
    index[encoder.component] = ["transformers", kind];
    index[copyTokenizer(encoder, out)] = ["transformers", "CLIPTokenizer"];
  }
  writeJsonAtomic(join(out, "model_index.json"), index);
}

/** Copies a tokenizer's files, with the token that fills texts up as this encoder has it; returns the folder's name. */
function copyTokenizer({ component, tokenizer, padding }: TextEncoder, out: string): string {
  const name = component.replace("text_encoder", "tokenizer");
  const folder = join(out, name);
  makeFolder(folder);
  for (const file of [
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
  ]) {
    const from = join(tokenizer!, file);
    if (existsSync(from)) cpSync(from, join(folder, file), { dereference: true });
  }
  if (padding === null) return name;
  const token = [...readVocabulary(tokenizer!).ids].find(([, id]) => id === padding)?.[0];
  for (const file of ["tokenizer_config.json", "special_tokens_map.json"]) {
    const path = join(folder, file);
    const held = existsSync(path) ? readJsonObject(path) : {};
    writeJsonAtomic(path, { ...held, pad_token: token });
  }
  return name;
}
