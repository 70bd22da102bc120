/** What a LoRA file of diffusion holds, told without its base. */

import { statSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { hashFile } from "../files/fingerprint.ts";
import { isRecord } from "../files/json-file.ts";
import { openSafetensors, readTensor } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sizeOf } from "../tensor/shape.ts";
import { FAMILIES } from "./check-adapter.ts";
import { type Part, parseLoraKey } from "./lora-keys.ts";
import { loraFileOf, textWidth } from "./read-lora.ts";

export interface ImageLoraInfo extends ImageLoraHeader {
  readonly sha256: string;
}

/** What its header alone tells, and its numbers of alpha. */
export interface ImageLoraHeader {
  /** "LORA", "LOCON", "LOHA", "LOKR", "DORA" or "FULL"; several with a plus between. */
  readonly type: string;
  /** "kohya" or "diffusers": how its layers are named. */
  readonly format: "kohya" | "diffusers";
  /** The commonest. */
  readonly r: number | null;
  /** The commonest; null where the file has none, which means r. */
  readonly alpha: number | null;
  /** Layers by part of the pipeline. */
  readonly targetModules: Readonly<Record<string, number>>;
  readonly modules: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly dtype: string;
  readonly baseModel: string | null;
  /** Words that call what it was trained on, the commonest first. */
  readonly triggers: readonly string[];
  /** Keys that are no part of an update in any known spelling. */
  readonly unknown: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Width of the text that its cross-attention reads, which tells its base; null where it has none. */
  readonly textWidth: number | null;
}

/** Tags shown. */
const MOST_TRIGGERS = 10;
/** Longest text of the header that is shown whole. */
const LONGEST = 200;

export function imageLoraInfo(path: string): ImageLoraInfo {
  return { ...imageLoraHeader(path), sha256: hashFile(loraFileOf(path)) };
}

/** Throws FormatError for a file that is none. */
export function imageLoraHeader(path: string): ImageLoraHeader {
  const file = loraFileOf(path);
  const { tensors, metadata } = openSafetensors(file);
  const layers = new Map<string, Set<Part>>();
  const unknown: string[] = [];
  const [ranks, alphas, types] = [
    new Map<string | number, number>(),
    new Map<string | number, number>(),
    new Map<string | number, number>(),
  ];
  const add = (counts: Map<string | number, number>, value: string | number, by = 1): void => {
    counts.set(value, (counts.get(value) ?? 0) + by);
  };
  let kernels = false;
  for (const [key, entry] of tensors) {
    add(types, entry.storedType, sizeOf(entry.shape));
    const parsed = parseLoraKey(key);
    if (!parsed) {
      unknown.push(key);
      continue;
    }
    layers.set(parsed.layer, (layers.get(parsed.layer) ?? new Set()).add(parsed.part));
    if (["down", "hada_w1_b", "lokr_w2_b"].includes(parsed.part)) add(ranks, entry.shape[0]!);
    if (parsed.part === "down" && (entry.shape[2] ?? 1) > 1) kernels = true;
    if (parsed.part === "alpha") add(alphas, toFloat32(readTensor(entry))[0]!);
  }
  if (layers.size === 0) throw new FormatError(`${file}: no tensor of it is part of a LoRA in any known spelling.`);
  const parts = new Set([...layers.values()].flatMap((each) => [...each]));
  const has = (start: string): boolean => [...parts].some((part) => part.startsWith(start));
  const kinds = [
    ...(has("down") ? [kernels ? "LOCON" : "LORA"] : []),
    ...(has("hada") ? ["LOHA"] : []),
    ...(has("lokr") ? ["LOKR"] : []),
    ...(parts.has("diff") ? ["FULL"] : []),
    ...(parts.has("magnitude") ? ["DORA"] : []),
  ];
  const header = headerConfig(metadata);
  const format = [...layers.keys()].some((layer) => /^lora_(unet|te\d?)_/.test(layer)) ? "kohya" : "diffusers";
  const components = new Map<string | number, number>();
  for (const layer of layers.keys()) add(components, componentOf(layer));
  return {
    type: kinds.join("+"),
    format,
    r: commonest(ranks),
    alpha: commonest(alphas) ?? header.get("unet.lora_alpha") ?? header.get("text_encoder.lora_alpha") ?? null,
    targetModules: Object.fromEntries(components),
    modules: layers.size,
    parameters: [...types.values()].reduce((a, b) => a + b, 0),
    bytes: statSync(file).size,
    dtype: String([...types].toSorted(([, a], [, b]) => b - a)[0]![0]).toLowerCase(),
    baseModel: baseOf(metadata, textWidth(tensors)),
    textWidth: textWidth(tensors),
    triggers: triggersOf(metadata),
    unknown,
    metadata: Object.fromEntries(
      [...metadata].map(([name, text]) => [name, text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text]),
    ),
  };
}

function componentOf(layer: string): string {
  const kohya = /^lora_(unet|te2|te1|te)_/.exec(layer);
  if (kohya) return { unet: "unet", te: "text_encoder", te1: "text_encoder", te2: "text_encoder_2" }[kohya[1]!]!;
  return /^(text_encoder_2|text_encoder|unet)\./.exec(layer)?.[1] ?? "unet";
}

function baseOf(metadata: ReadonlyMap<string, string>, width: number | null): string | null {
  for (const name of ["modelspec.architecture", "ss_base_model_version", "ss_sd_model_name"]) {
    const text = metadata.get(name);
    if (text) return text.replace(/\/lora$/, "");
  }
  return width === null ? null : (FAMILIES[width] ?? `a model whose text is ${width} wide`);
}

function triggersOf(metadata: ReadonlyMap<string, string>): string[] {
  const phrase = metadata.get("modelspec.trigger_phrase");
  const counts = new Map<string, number>();
  const folders = parsed(metadata.get("ss_tag_frequency"));
  for (const tags of Object.values(folders)) {
    if (!isRecord(tags)) continue;
    for (const [tag, count] of Object.entries(tags)) {
      if (typeof count === "number") counts.set(tag.trim(), (counts.get(tag.trim()) ?? 0) + count);
    }
  }
  const common = [...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([tag]) => tag);
  return [...new Set([...(phrase ? [phrase] : []), ...common])].slice(0, MOST_TRIGGERS);
}

/** The numbers of PEFT's configurations in the header. */
function headerConfig(metadata: ReadonlyMap<string, string>): ReadonlyMap<string, number> {
  const fields = Object.entries(parsed(metadata.get("lora_adapter_metadata")));
  return new Map(fields.filter((each): each is [string, number] => typeof each[1] === "number"));
}

/** A JSON object in the header; empty where there is none or it is damaged, for it only informs. */
function parsed(text: string | undefined): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = text === undefined ? {} : JSON.parse(text);
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function commonest(counts: ReadonlyMap<string | number, number>): number | null {
  const [first] = [...counts].toSorted(([, a], [, b]) => b - a);
  return first ? Number(first[0]) : null;
}
