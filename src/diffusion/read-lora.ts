/** LoRA files for diffusion, whoever wrote them, onto the layers of a pipeline. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { patternValue } from "../adapters/targets.ts";
import { AdapterMismatchError, FormatError, ModelError, UsageError } from "../errors.ts";
import { isRecord } from "../files/json-file.ts";
import { openSafetensors, readTensor } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { ImageAdapter, ImageBranch } from "./adapter.ts";
import { checkAdapter, FAMILIES } from "./check-adapter.ts";
import { readOwn } from "./component.ts";
import { type Part, parseLoraKey } from "./lora-keys.ts";
import { diffusersTable, kohyaTable, type LayerPlace } from "./lora-names.ts";
import { type HeaderScale, type LayerShape, layerUpdate, type UpdateKind } from "./lora-updates.ts";
import { componentsOf, type Pipeline } from "./pipeline.ts";

export interface ReadLora {
  readonly adapter: ImageAdapter;
  /** Kinds of updates in it. */
  readonly kinds: readonly UpdateKind[];
  /** Tensors that a layer of the pipeline was found for, of all. */
  readonly matched: number;
  readonly tensors: number;
  /** Keys that no layer was found for. */
  readonly unmatched: readonly string[];
  /** The header's texts. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** What diffusers calls a LoRA in its folder. */
export const DIFFUSERS_FILE = "pytorch_lora_weights.safetensors";
const LISTED = 20;

/** Whether a path is a LoRA of diffusion: a .safetensors file, or a folder with diffusers' file. */
export function isImageLora(path: string): boolean {
  return /\.safetensors$/i.test(path) || existsSync(join(path, DIFFUSERS_FILE));
}

/** The file of a LoRA: itself, or the one in a folder. */
export function loraFileOf(path: string): string {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) throw new ModelError(`${path}: no such file or folder. Check the path.`);
  if (!status.isDirectory()) return path;
  const files = readdirSync(path).filter((file) => file.endsWith(".safetensors"));
  const file = files.includes(DIFFUSERS_FILE) ? DIFFUSERS_FILE : files.length === 1 ? files[0] : undefined;
  if (file !== undefined) return join(path, file);
  throw new UsageError(`${path}: it holds ${files.length} .safetensors files, needed one. Name the file.`);
}

/**
 * Reads kohya's, diffusers' and LyCORIS' files. Throws AdapterMismatchError when nothing matches, when a layer has another
 * size (naming the base that it is likely of), or when a layer's tensors make no update; what merely matches no layer
 * is returned as `unmatched`.
 */
export function readImageLora(path: string, pipeline: Pipeline): ReadLora {
  const file = loraFileOf(path);
  const { tensors, metadata } = openSafetensors(file);
  const kohya = kohyaTable(pipeline);
  const diffusers = diffusersTable(pipeline);
  const scales = headerScales(metadata, file);
  const found = new Map<string, { place: LayerPlace; parts: Map<Part, FloatTensor> }>();
  const unmatched: string[] = [];
  for (const [key, entry] of tensors) {
    const parsed = parseLoraKey(key);
    const place = parsed && (kohya.get(parsed.layer) ?? diffusers.get(parsed.layer));
    if (!parsed || !place) {
      unmatched.push(key);
      continue;
    }
    const slot = `${place.component}.${place.module}`;
    const held = found.get(slot) ?? { place, parts: new Map<Part, FloatTensor>() };
    if (held.parts.has(parsed.part)) throw new FormatError(`${file}: ${key} gives ${slot} a second ${parsed.part}.`);
    held.parts.set(parsed.part, floatTensor(entry.shape, toFloat32(readTensor(entry)).slice()));
    found.set(slot, held);
  }
  if (found.size === 0) throw nothingMatched(file, pipeline, [...tensors]);
  const adapter = new Map<string, Map<string, ImageBranch>>();
  const kinds = new Set<UpdateKind>();
  const problems: string[] = [];
  for (const [slot, { place, parts }] of found) {
    const { component, module } = place;
    try {
      const shape = layerShape(pipeline, place);
      const scale: HeaderScale = (rank) => scales(component, module, rank);
      const update = layerUpdate(parts, shape, scale, () => baseWeight(pipeline, place));
      kinds.add(update.kind);
      adapter.set(component, (adapter.get(component) ?? new Map<string, ImageBranch>()).set(module, update.branch));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      problems.push(`${slot}: ${error.message}`);
    }
  }
  if (problems.length > 0) {
    throw new AdapterMismatchError(
      `${file} does not fit ${pipeline.folder}:\n${problems
        .slice(0, LISTED)
        .map((each) => `  ${each}`)
        .join(
          "\n",
        )}${problems.length > LISTED ? `\n  and ${problems.length - LISTED} more` : ""}\nCheck --model, or copy the file again.`,
      problems,
    );
  }
  checkAdapter(adapter, pipeline, file);
  return {
    adapter,
    kinds: [...kinds],
    matched: tensors.size - unmatched.length,
    tensors: tensors.size,
    unmatched,
    metadata,
  };
}

/** "12 of 300 tensors match no layer of …: a, b"; null when all do. */
export function unmatchedText(path: string, { unmatched, tensors }: ReadLora): string | null {
  if (unmatched.length === 0) return null;
  const more = unmatched.length > LISTED ? ` and ${unmatched.length - LISTED} more` : "";
  return `${path}: ${unmatched.length} of ${tensors} tensors match no layer and are left out: ${unmatched.slice(0, LISTED).join(", ")}${more}`;
}

function layerShape(pipeline: Pipeline, { component, module }: LayerPlace): LayerShape {
  const { modules, convolutions } = componentsOf(pipeline).get(component)!.trace;
  const conv = convolutions.get(module)?.spec;
  if (conv) return { out: conv.out, input: [conv.in, conv.kernel, conv.kernel] };
  const layer = modules.get(module)!;
  if (layer.kind === "linear") return { out: layer.spec.out, input: [layer.spec.in] };
  throw new RangeError("is an embedding, which LoRA files of diffusion do not change");
}

function baseWeight(pipeline: Pipeline, { component, module }: LayerPlace): Float32Array {
  return readOwn(componentsOf(pipeline).get(component)!, `${module}.weight`).data;
}

/** α / r by the header's `lora_adapter_metadata`, PEFT's configurations under each component's name; 1 without. */
function headerScales(
  metadata: ReadonlyMap<string, string>,
  file: string,
): (component: string, module: string, rank: number) => number {
  const text = metadata.get("lora_adapter_metadata");
  if (text === undefined) return () => 1;
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    throw new FormatError(`${file}: lora_adapter_metadata in its header is no JSON. Save the adapter again.`);
  }
  if (!isRecord(fields)) throw new FormatError(`${file}: lora_adapter_metadata in its header is no object.`);
  return (component, module, rank) => {
    const alpha = fields[`${component}.lora_alpha`];
    if (typeof alpha !== "number") return 1;
    const patterns = fields[`${component}.alpha_pattern`];
    const own = patternValue(module, isRecord(patterns) ? (patterns as Record<string, number>) : {}, alpha);
    return own / (fields[`${component}.use_rslora`] === true ? Math.sqrt(rank) : rank);
  };
}

function nothingMatched(
  file: string,
  { folder, unet }: Pipeline,
  tensors: readonly (readonly [string, { readonly shape: readonly number[] }])[],
): AdapterMismatchError {
  const keys = tensors.map(([key]) => key);
  const width = textWidth(tensors);
  const own = unet.config.cross_attention_dim;
  const hint =
    width !== null && width !== own
      ? ` It reads text ${width} wide${FAMILIES[width] ? ` (${FAMILIES[width]})` : ""}; this model's is ${own}.`
      : "";
  return new AdapterMismatchError(
    `${file}: none of its ${keys.length} tensors match a layer of ${folder}.${hint} They are named like ${keys.slice(0, 3).join(", ")}. Check --model.`,
    keys,
  );
}

/** Width of the text that a file's cross-attention reads, which tells its base; null where it has none. */
export function textWidth(tensors: Iterable<readonly [string, { readonly shape: readonly number[] }]>): number | null {
  for (const [key, { shape }] of tensors) {
    const parsed = parseLoraKey(key);
    if (parsed && /attn2[._]to_[kv]$/.test(parsed.layer)) {
      if (parsed.part === "down" || parsed.part === "hada_w1_b") return shape[1] ?? null;
    }
  }
  return null;
}
