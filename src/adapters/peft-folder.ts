/**
 * PEFT's adapter folders: adapter_config.json and adapter_model.safetensors.
 * Source of names and layout: PEFT `utils/save_and_load.py`, `config.py`.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { ModelError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { hashFile } from "../files/fingerprint.ts";
import { readJsonObject } from "../files/json-file.ts";
import { openSafetensors, type TensorEntry, writeSafetensors } from "../files/safetensors.ts";
import { openTorchFile } from "../files/torch-file.ts";
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

/** Opens a PEFT folder; reads headers only. Throws ModelError when it is none. */
export function openPeftFolder(path: string): PeftFolder {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new ModelError(`${path}: no such folder. An adapter is a folder with ${CONFIG_FILE} and ${WEIGHTS_FILE}.`);
  }
  if (!existsSync(join(path, CONFIG_FILE))) {
    throw new ModelError(`${path}: no ${CONFIG_FILE}. An adapter is a folder with ${CONFIG_FILE} and ${WEIGHTS_FILE}.`);
  }
  const config = parseAdapterConfig(readJsonObject(join(path, CONFIG_FILE)), join(path, CONFIG_FILE));
  const weights = join(path, WEIGHTS_FILE);
  if (existsSync(weights)) return { path, config, tensors: openSafetensors(weights).tensors, ...openParts(path) };
  const pickled = join(path, PICKLED_FILE);
  if (existsSync(pickled)) return { path, config, tensors: openTorchFile(pickled).tensors };
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
  const hash = createHash("sha256");
  for (const name of peftFiles(openPeftFolder(path))) {
    if (basename(name) !== PROVENANCE_FILE) hash.update(`${name} ${hashFile(join(path, name))}\n`);
  }
  return hash.digest("hex");
}

function openParts(path: string): Pick<PeftFolder, "parts"> {
  const file = join(path, PARTS_FILE);
  if (!existsSync(file)) return {};
  const { parts } = readJsonObject(file);
  const names: readonly unknown[] = Array.isArray(parts) ? parts : [null];
  return {
    parts: names.map((name) => {
      if (typeof name === "string" && /^\w+$/.test(name)) return openPeftFolder(join(path, name));
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
