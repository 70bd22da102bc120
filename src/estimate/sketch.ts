/** A model without its weights: everything that counts and graphs need, nothing that a session would read. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { folderName } from "../files/snapshot-path.ts";
import type { RawConfig } from "../models/config.ts";
import { locateModel } from "../models/locate.ts";
import { type Model, openModel } from "../models/open.ts";
import { DEFAULT_POOLING } from "../models/pooling.ts";
import { findArchitecture } from "../models/registry.ts";
import { checkpointWeights, type TensorSource } from "../models/weights.ts";
import { byteLength } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/shape.ts";
import { FAMILIES } from "./families.ts";

/**
 * The model that a name stands for: a published size (`gpt3-175b`), a config.json, or a folder. Throws ModelError for
 * names that are none of these.
 */
export function sketchModel(name: string): Model {
  const family = FAMILIES[name.toLowerCase()];
  if (family) return fromConfig(name.toLowerCase(), family);
  if (name.endsWith(".json")) return fromConfig(name, readJsonObject(name));
  try {
    return openModel(locateModel(name));
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const config = join(name, "config.json");
    if (existsSync(config) && !findWeights(name)) return fromConfig(folderName(name), readJsonObject(config));
    throw new ModelError(`${error.message} Known sizes: ${Object.keys(FAMILIES).join(", ")}.`);
  }
}

function findWeights(folder: string): boolean {
  return readdirSync(folder).some((file) => /\.(safetensors|bin)(\.index\.json)?$/.test(file));
}

function fromConfig(name: string, rawConfig: RawConfig): Model {
  const architecture = findArchitecture(rawConfig["model_type"], name);
  const stored = String(rawConfig["dtype"] ?? rawConfig["torch_dtype"] ?? "float32");
  const dtype = stored === "bfloat16" ? "bf16" : stored === "float16" ? "f16" : "f32";
  const source: TensorSource = {
    has: () => true,
    find: (_name, shape) => ({ dtype, shape, path: "", offset: 0, byteLength: byteLength(dtype, sizeOf(shape)) }),
  };
  return {
    name,
    folder: name,
    rawConfig,
    architecture,
    config: architecture.configure(rawConfig),
    source,
    weights: (stream, replaced) => checkpointWeights(source, stream, replaced),
    read: (tensor) => {
      throw new ModelError(`internal: ${tensor} is read of ${name}, which has no weights`);
    },
    pooling: DEFAULT_POOLING,
    files: [],
  };
}
