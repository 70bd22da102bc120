/** Adapters from one tool's files to another's. The update stays the same; only spelling and layout change. */

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { ModelError, UsageError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { type BaseConfig, readGgufAdapter, writeGgufAdapter } from "./gguf-adapter.ts";
import { type LoraFile, readLora, writeLora } from "./lora-file.ts";
import { type LoralibOptions, readLoralib } from "./loralib.ts";
import { isMlxFolder, readMlx, writeMlx } from "./mlx.ts";

export const TARGETS = ["peft", "gguf", "mlx"] as const;
export type ConvertTarget = (typeof TARGETS)[number];

export interface ConvertInput extends LoralibOptions {
  /** A PEFT or mlx-lm folder, a .gguf file, or loralib's .pt or .bin file. */
  readonly adapter: string;
  readonly to: ConvertTarget;
  /** A folder; for gguf a file. */
  readonly out: string;
  /** The base's folder: needed for GGUF, both ways. */
  readonly model?: string | undefined;
}

export interface ConvertResult {
  readonly out: string;
  readonly from: "peft" | "mlx" | "gguf" | "loralib";
  readonly to: ConvertTarget;
  readonly modules: number;
  readonly r: number;
  /** Tensors of the input that are no factors and were not taken over. */
  readonly left: readonly string[];
}

/** Throws UsageError for options, FormatError for damaged files, AdapterMismatchError for what is no whole adapter. */
export function convertAdapter(input: ConvertInput): ConvertResult {
  const { adapter, to, out, model } = input;
  const from = formatOf(adapter);
  const where = model === undefined ? adapter : join(model, "config.json");
  const base = (): BaseConfig => {
    if (model !== undefined) return baseConfig(model);
    throw new UsageError(`GGUF's names and the order of its rows depend on the base. Give its folder: --model DIR.`);
  };
  const read: Readonly<Record<ConvertResult["from"], () => LoraFile & { readonly left?: readonly string[] }>> = {
    peft: () => readLora(adapter),
    mlx: () => readMlx(adapter),
    gguf: () => readGgufAdapter(adapter, base(), where),
    loralib: () => readLoralib(adapter, input),
  };
  const file = read[from]();
  const modules = file.modules;
  if (to === "peft") {
    const name = file.config.base_model_name_or_path ?? model ?? null;
    writeLora(out, { ...file.config, base_model_name_or_path: name }, modules);
  } else if (to === "gguf") writeGgufAdapter(out, file, base(), where);
  else writeMlx(out, file);
  const r = Math.max(...[...modules.values()].map(({ rank }) => rank));
  return { out, from, to, modules: modules.size, r, left: file.left ?? [] };
}

function formatOf(path: string): ConvertResult["from"] {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) throw new ModelError(`${path}: no such file or folder. Check the path.`);
  if (status.isDirectory()) return isMlxFolder(path) ? "mlx" : "peft";
  if (/\.gguf$/i.test(path)) return "gguf";
  if (/\.(pt|pth|bin)$/i.test(path)) return "loralib";
  throw new UsageError(
    `${path}: not a known kind of adapter. Give a PEFT or mlx-lm folder, a .gguf file, or loralib's .pt or .bin file.`,
  );
}

function baseConfig(folder: string): BaseConfig {
  const path = join(folder, "config.json");
  if (existsSync(path)) return readJsonObject(path);
  throw new ModelError(`${folder}: no config.json. Give the folder of the adapter's base model.`);
}
