/** A Hugging Face checkpoint folder: its configuration, and where each of its tensors lies. */

import { lstatSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FormatError, ModelError } from "../errors.ts";
import { staysInside } from "./inside.ts";
import { ioError } from "./io-error.ts";
import { isRecord, readJsonObject } from "./json-file.ts";
import { noWeightsError } from "./no-weights.ts";
import { quoteName } from "./quote.ts";
import { openSafetensors, type TensorEntry } from "./safetensors.ts";
import { openTorchFile } from "./torch-file.ts";

export interface Checkpoint {
  /** As it was given. */
  readonly folder: string;
  /** What `config.json` holds. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Every tensor by name; each entry knows its file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

interface Layout {
  /** The one file, or the index of several. */
  readonly single: string;
  readonly index: string;
  open(path: string): { readonly tensors: ReadonlyMap<string, TensorEntry> };
}

/** What weights are called, in the order of preference. */
const LAYOUTS: readonly Layout[] = [
  ...safetensors("model"),
  ...safetensors("diffusion_pytorch_model"),
  ...torchFiles("pytorch_model"),
  ...torchFiles("diffusion_pytorch_model"),
];

/** Full precision before the 16-bit variant that diffusers writes beside it. */
function safetensors(stem: string): Layout[] {
  return [
    { single: `${stem}.safetensors`, index: `${stem}.safetensors.index.json`, open: openSafetensors },
    { single: `${stem}.fp16.safetensors`, index: `${stem}.safetensors.index.fp16.json`, open: openSafetensors },
  ];
}

function torchFiles(stem: string): Layout[] {
  return [
    { single: `${stem}.bin`, index: `${stem}.bin.index.json`, open: openTorchFile },
    { single: `${stem}.fp16.bin`, index: `${stem}.bin.index.fp16.json`, open: openTorchFile },
  ];
}

/** Names that a message lists before it only counts the rest. */
const LISTED = 100;

/**
 * Opens a checkpoint: `config.json` with `model.safetensors`, or with `model.safetensors.index.json` and its shards, or
 * diffusers' names of them; failing these, `pytorch_model.bin` or its shards, which are read without running anything.
 * Symbolic links are followed (Hugging Face's cache is made of them). No tensor data is read. Throws ModelError for a
 * folder that is no usable checkpoint, FormatError for a damaged weights file. `bare` takes the configuration alone, as if the
 * folder held no weights.
 */
export function openCheckpoint(folder: string, { bare = false }: { readonly bare?: boolean } = {}): Checkpoint {
  const files = listFolder(folder);
  if (!files.includes("config.json")) {
    throw new ModelError(
      `${folder}: no config.json; it holds ${list(files)}. Give the folder of a Hugging Face checkpoint.`,
    );
  }
  const config = asModelError(() => readJsonObject(present(join(folder, "config.json"))));
  if (bare) return { folder, config, tensors: new Map() };
  for (const layout of LAYOUTS) {
    const single = files.includes(layout.single);
    if (!single && !files.includes(layout.index)) continue;
    const tensors = single ? layout.open(present(join(folder, layout.single))).tensors : openShards(folder, layout);
    return { folder, config, tensors: config["tie_word_embeddings"] === false ? tensors : withoutAliases(tensors) };
  }
  throw noWeightsError(folder, files);
}

/**
 * Each block of bytes under its first name: PyTorch's files hold tied heads beside the embedding, safetensors files do
 * not, and what is trained or merged under one name must not survive under another.
 */
function withoutAliases(tensors: ReadonlyMap<string, TensorEntry>): Map<string, TensorEntry> {
  const seen = new Set<string>();
  return new Map(
    [...tensors].filter(([, { path, offset, byteLength, shape }]) => {
      const place = `${offset} [${shape}] ${path}`;
      const again = byteLength > 0 && seen.has(place);
      seen.add(place);
      return !again;
    }),
  );
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    throw new ModelError(
      `${ioError("read", folder, error).message} A model is a folder with config.json and model.safetensors.`,
    );
  }
}

/** The path again, unless it is a link whose target is gone: a cache that was cleaned or copied without its blobs. */
function present(path: string): string {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return path;
  throw new ModelError(`${path} is a symbolic link to a file that does not exist. Download the model again.`);
}

function openShards(folder: string, layout: Layout): Map<string, TensorEntry> {
  const index = join(folder, layout.index);
  const shardOf = asModelError(() => readIndex(present(index)));
  const shards = [...new Set(shardOf.values())].sort((a, b) => (a < b ? -1 : 1));
  const missing = shards.filter((shard) => statSync(join(folder, shard), { throwIfNoEntry: false }) === undefined);
  if (missing.length > 0) {
    throw new ModelError(
      `${folder}: ${missing.length} of ${shards.length} files that ${layout.index} names are missing${linksAmong(folder, missing)}: ` +
        `${list(missing)}. Download them.`,
    );
  }
  const tensors = new Map<string, TensorEntry>();
  const problems: string[] = [];
  for (const shard of shards) {
    for (const [name, entry] of layout.open(join(folder, shard)).tensors) {
      const indexed = shardOf.get(name);
      if (indexed === shard) tensors.set(name, entry);
      else
        problems.push(
          `${quoteName(name)}: in ${shard}, but the index ${indexed === undefined ? "lacks it" : `says ${indexed}`}`,
        );
    }
  }
  for (const [name, shard] of shardOf) {
    if (!tensors.has(name)) problems.push(`${quoteName(name)}: the index says ${shard}, which lacks it`);
  }
  if (problems.length > 0) {
    const lines = problems.slice(0, LISTED).map((problem) => `\n  ${problem}`);
    const rest = problems.length > LISTED ? `\n  and ${problems.length - LISTED} more` : "";
    throw new ModelError(
      `${index} and its files disagree:${lines.join("")}${rest}\nDownload the model again, all files of one revision.`,
    );
  }
  return tensors;
}

/** Tensor name to shard name, each shard a relative path that stays inside the folder. */
function readIndex(path: string): Map<string, string> {
  const map = readJsonObject(path)["weight_map"];
  if (!isRecord(map)) throw new ModelError(`${path}: its weight_map is missing or no object. Download it again.`);
  const shardOf = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== "string" || !staysInside(shard)) {
      throw new ModelError(
        `${path}: tensor ${quoteName(name)} is mapped to ${quoteName(JSON.stringify(shard))}, needed the name of a file ` +
          "inside the folder. Do not use this file: download the model from a source that you trust.",
      );
    }
    shardOf.set(name, shard);
  }
  if (shardOf.size === 0) throw new ModelError(`${path}: its weight_map is empty. Download it again.`);
  return shardOf;
}

function linksAmong(folder: string, missing: readonly string[]): string {
  const links = missing.filter((shard) => lstatSync(join(folder, shard), { throwIfNoEntry: false }) !== undefined);
  return links.length > 0 ? " (symbolic links to files that do not exist)" : "";
}

function list(names: readonly string[]): string {
  if (names.length === 0) return "nothing";
  return names.slice(0, LISTED).join(", ") + (names.length > LISTED ? ` and ${names.length - LISTED} more` : "");
}

/** A broken JSON file of a model is the model's fault: same message, the class that callers expect. */
function asModelError<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw error instanceof FormatError ? new ModelError(error.message) : error;
  }
}
