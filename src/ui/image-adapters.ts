/** LoRA files of diffusion under a folder of runs: of runs that ended, of runs' newest checkpoints, and files by themselves. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, relative, sep } from "node:path";
import { type ImageLoraHeader, imageLoraHeader } from "../diffusion/lora-info.ts";
import { isPipeline } from "../diffusion/pipeline.ts";
import { DIFFUSERS_FILE } from "../diffusion/read-lora.ts";
import { FormatError } from "../errors.ts";
import { listCheckpoints } from "../train/state.ts";

export interface FoundAdapter {
  /** Path below the folder of runs, with forward slashes and without ".safetensors". */
  readonly id: string;
  readonly file: string;
  /** When the file was written, in milliseconds. */
  readonly time: number;
  /** Step of the checkpoint that it is of; null for what a run left at its end. */
  readonly step: number | null;
  readonly header: ImageLoraHeader;
}

export interface AdapterFolder {
  /** By id. Headers are read once for each time that a file is written. */
  list(): FoundAdapter[];
}

/** Folders below the one given that are looked through. */
const DEPTH = 4;
/** Parts of pipelines and text adapters, which are no LoRA of diffusion. */
const OTHERS = /^(model|diffusion_pytorch_model|adapter_model|optimizer|best)(-\d+-of-\d+|\.fp16)?\.safetensors$/;

interface Candidate {
  readonly id: string;
  readonly file: string;
  readonly step: number | null;
}

export function adapterFolder(root: string): AdapterFolder {
  const known = new Map<string, { readonly time: number; readonly header: ImageLoraHeader | null }>();
  return {
    list: () =>
      candidates(root, root, DEPTH)
        .flatMap((candidate): FoundAdapter[] => {
          const time = statSync(candidate.file, { throwIfNoEntry: false })?.mtimeMs;
          if (time === undefined) return []; // gone since
          let seen = known.get(candidate.file);
          if (seen?.time !== time) {
            seen = { time, header: headerOf(candidate.file) };
            known.set(candidate.file, seen);
          }
          return seen.header === null ? [] : [{ ...candidate, time, header: seen.header }];
        })
        .toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

function candidates(root: string, folder: string, depth: number): Candidate[] {
  if (!existsSync(folder) || isPipeline(folder)) return [];
  const id = (path: string): string => relative(root, path).split(sep).join("/") || ".";
  const entries = readdirSync(folder, { withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
    .map(({ name }) => name);
  const inner = entries
    .filter((entry) => entry.isDirectory() && !/^(\.|checkpoint-|node_modules$)/.test(entry.name))
    .flatMap(({ name }) => (depth === 0 ? [] : candidates(root, join(folder, name), depth - 1)));
  const newest = listCheckpoints(folder).at(-1);
  const saved = newest && join(newest.path, DIFFUSERS_FILE);
  if (files.includes(DIFFUSERS_FILE)) {
    return [{ id: id(folder), file: join(folder, DIFFUSERS_FILE), step: null }, ...inner];
  }
  if (newest && saved && existsSync(saved)) return [{ id: id(folder), file: saved, step: newest.step }, ...inner];
  const single = files
    .filter((name) => !OTHERS.test(name))
    .map((name) => {
      const stem = basename(name, ".safetensors");
      return { id: id(join(folder, stem)), file: join(folder, name), step: null };
    });
  return [...single, ...inner];
}

/** Null for a file that is no LoRA of diffusion. */
function headerOf(file: string): ImageLoraHeader | null {
  try {
    const header = imageLoraHeader(file);
    const { unet = 0, text_encoder = 0, text_encoder_2 = 0 } = header.targetModules;
    return unet + text_encoder + text_encoder_2 > 0 ? header : null;
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}
