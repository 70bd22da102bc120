/** A model without its weights: everything that counts and graphs need, nothing that a session would read. */

import { ModelError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import type { RawConfig } from "../models/config.ts";
import { locateModel } from "../models/locate.ts";
import { type Model, openModel } from "../models/open.ts";
import { findArchitecture } from "../models/registry.ts";
import { checkpointWeights, type TensorSource } from "../models/weights.ts";
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
    throw new ModelError(`${error.message} Known sizes: ${Object.keys(FAMILIES).join(", ")}.`);
  }
}

function fromConfig(name: string, rawConfig: RawConfig): Model {
  const architecture = findArchitecture(rawConfig["model_type"], name);
  const source: TensorSource = {
    has: () => true,
    find: (_name, shape) => ({ dtype: "f32", shape, path: "", offset: 0, byteLength: 4 * sizeOf(shape) }),
  };
  return {
    name,
    folder: name,
    rawConfig,
    architecture,
    config: architecture.configure(rawConfig),
    source,
    weights: (stream, replaced) => checkpointWeights(source, stream, replaced),
    files: [],
  };
}
