/**
 * PEFT's adapter folders: adapter_config.json and adapter_model.safetensors.
 * Source of names and layout: PEFT `utils/save_and_load.py`, `config.py`.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { ModelError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { locateEmbedded } from "../files/embedded.ts";
import { hashFile } from "../files/fingerprint.ts";
import { parseJsonObject, readJsonObject } from "../files/json-file.ts";
import { readFile } from "../files/read-file.ts";
import { openSafetensors, parseSafetensors, type TensorEntry, writeSafetensors } from "../files/safetensors.ts";
import { openTorchFile, parseTorchFile } from "../files/torch-file.ts";
import type { Adapter } from "./adapter.ts";
import { type AdapterConfig, parseAdapterConfig, writtenFields } from "./bind.ts";
import { PEFT_VERSION } from "./config-fields.ts";

export const CONFIG_FILE = "adapter_config.json";
export const WEIGHTS_FILE = "adapter_model.safetensors";
/** What PEFT wrote before safetensors; read, never written. */
const PICKLED_FILE = "adapter_model.bin";

export interface PeftFolder {
  readonly path: string;
  readonly config: AdapterConfig;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Folders inside it, one for each further method of a composed adapter; absent for a single one. */
  readonly parts?: readonly PeftFolder[];
}

/** Names the folders of a composed adapter's further methods; PEFT loads each part by itself. */
const PARTS_FILE = "adapter_parts.json";
/** Where it came from, which changes nothing that it computes. */
const PROVENANCE_FILE = "lowrank.json";

/** How an adapter's files are opened: headers alone from the disk, or whole files in memory. */
interface Opener {
  json(path: string): Record<string, unknown>;
  weights(path: string, kind: "safetensors" | "torch"): ReadonlyMap<string, TensorEntry>;
}

const FROM_DISK: Opener = {
  json: (path) => readJsonObject(path),
  weights: (path, kind) => (kind === "torch" ? openTorchFile(path) : openSafetensors(path)).tensors,
};

/** Opens a PEFT folder, or one that ships as `embedded:NAME`; reads headers only. Throws ModelError when it is none. */
export function openPeftFolder(path: string): PeftFolder {
  return open(locateEmbedded(path, "adapter"), FROM_DISK);
}

/**
 * Opens a PEFT folder with its files in memory, each read once: `content` is the SHA-256 of exactly what the adapter
 * computes with, whatever others write meanwhile. Throws as {@link openPeftFolder}.
 */
export function readPeftFolder(path: string): PeftFolder & { readonly content: string } {
  const files = new Map<string, Uint8Array>();
  const read = (file: string): Uint8Array => {
    const bytes = files.get(file) ?? readFile(file);
    files.set(file, bytes);
    return bytes;
  };
  const folder = open(locateEmbedded(path, "adapter"), {
    json: (file) => parseJsonObject(read(file), file),
    weights(file, kind) {
      const memory = read(file);
      const { tensors } = kind === "torch" ? parseTorchFile(memory, file) : parseSafetensors(memory, file);
      return new Map([...tensors].map(([name, entry]) => [name, { ...entry, memory }]));
    },
  });
  return { ...folder, content: contentOf([...files].map(([file, bytes]) => [relative(path, file), sha256(bytes)])) };
}

function open(path: string, opener: Opener): PeftFolder {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new ModelError(`${path}: no such folder. An adapter is a folder with ${CONFIG_FILE} and ${WEIGHTS_FILE}.`);
  }
  if (!existsSync(join(path, CONFIG_FILE))) {
    throw new ModelError(`${path}: no ${CONFIG_FILE}. An adapter is a folder with ${CONFIG_FILE} and ${WEIGHTS_FILE}.`);
  }
  const config = parseAdapterConfig(opener.json(join(path, CONFIG_FILE)), join(path, CONFIG_FILE));
  const weights = join(path, WEIGHTS_FILE);
  if (existsSync(weights)) {
    return { path, config, tensors: opener.weights(weights, "safetensors"), ...openParts(path, opener) };
  }
  const pickled = join(path, PICKLED_FILE);
  if (existsSync(pickled)) return { path, config, tensors: opener.weights(pickled, "torch") };
  throw new ModelError(`${path}: no ${WEIGHTS_FILE} beside ${CONFIG_FILE}. Copy or train the adapter again.`);
}

/** The files of an opened folder, as relative paths: what another place needs to have the adapter. */
export function peftFiles({ path, parts = [] }: PeftFolder): string[] {
  const there = [CONFIG_FILE, WEIGHTS_FILE, PICKLED_FILE, PARTS_FILE, PROVENANCE_FILE].filter((name) =>
    existsSync(join(path, name)),
  );
  return [...there, ...parts.flatMap((part) => peftFiles(part).map((name) => `${basename(part.path)}/${name}`))];
}

/** SHA-256 over the files that an adapter computes with: tells whether a folder still holds what it held. */
export function folderContent(path: string): string {
  const names = peftFiles(openPeftFolder(path)).filter((name) => basename(name) !== PROVENANCE_FILE);
  return contentOf(names.map((name) => [name, hashFile(join(path, name))]));
}

/** Of an adapter's files by name and hash, in any order. */
function contentOf(files: readonly (readonly [name: string, hash: string])[]): string {
  const lines = files.map(([name, hash]) => `${name} ${hash}\n`);
  return sha256(new TextEncoder().encode(lines.toSorted().join("")));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Changes when one of the folder's files does: their names, times and sizes. "" for no folder. */
export function folderStamp(path: string): string {
  return stampLines(path, "").join("|");
}

function stampLines(path: string, under: string): string[] {
  const own = [CONFIG_FILE, WEIGHTS_FILE, PICKLED_FILE, PARTS_FILE].flatMap((name) => {
    const found = statSync(join(path, name), { throwIfNoEntry: false, bigint: true });
    return found ? [`${under}${name} ${found.ino} ${found.size} ${found.mtimeNs}`] : [];
  });
  const parts = under === "" && existsSync(join(path, PARTS_FILE)) ? partNames(path) : [];
  return [...own, ...parts.flatMap((name) => stampLines(join(path, name), `${name}/`))];
}

/** Names of a composed adapter's folders; none where its list cannot be read, which loading it tells of. */
function partNames(path: string): string[] {
  try {
    const { parts } = readJsonObject(join(path, PARTS_FILE));
    return Array.isArray(parts) ? parts.filter((name) => typeof name === "string" && /^\w+$/.test(name)) : [];
  } catch {
    return [];
  }
}

function openParts(path: string, opener: Opener): Pick<PeftFolder, "parts"> {
  const file = join(path, PARTS_FILE);
  if (!existsSync(file)) return {};
  const { parts } = opener.json(file);
  const names: readonly unknown[] = Array.isArray(parts) ? parts : [null];
  return {
    parts: names.map((name) => {
      if (typeof name === "string" && /^\w+$/.test(name)) return open(join(path, name), opener);
      throw new ModelError(`${file}: "parts" must list names of folders beside it. Save the adapter again.`);
    }),
  };
}

/** Writes a composed adapter: its first part where PEFT looks, each other one in a folder of its method's name. */
function saveParts(path: string, { parts = [], tensors }: Adapter): void {
  const [first, ...others] = parts.map(({ method, ...part }) => ({
    ...part,
    method,
    tensors: new Map([...method.parameters.keys()].map((key) => [key, tensors.get(key)!])),
  }));
  const named = others.map((part) => [part.config.peft_type.toLowerCase(), part] as const);
  savePeftFolder(path, first!);
  for (const [name, part] of named) savePeftFolder(join(path, name), part);
  writeJsonAtomic(join(path, PARTS_FILE), { parts: named.map(([name]) => name) });
}

/** Writes an adapter as PEFT does. The bytes depend on configuration and values alone. */
export function savePeftFolder(path: string, adapter: Adapter): void {
  if (adapter.parts) {
    saveParts(path, adapter);
    return;
  }
  mkdirSync(path, { recursive: true });
  const { config, method, tensors, unprefixed, copies = [] } = adapter;
  const named = method.stored?.((key) => tensors.get(key)!) ?? tensors;
  const start = "base_model.model.";
  const shorter = (key: string): string => (unprefixed ? key.replace(start + unprefixed, start) : key);
  // Trained biases of saved modules stand in PEFT's files twice.
  const current = [...copies].map(
    ([key, tensor]) => [key, tensors.get(key.replace(".modules_to_save.", ".")) ?? tensor] as const,
  );
  const stored = [...named].map(([key, tensor]) => [shorter(key), tensor] as const);
  writeSafetensors(join(path, WEIGHTS_FILE), [...stored, ...current], { format: "pt" });
  const fields: Record<string, unknown> = {
    ...writtenFields(config),
    inference_mode: true,
    peft_version: PEFT_VERSION,
  };
  const sorted = Object.fromEntries(Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  writeJsonAtomic(join(path, CONFIG_FILE), sorted);
}
