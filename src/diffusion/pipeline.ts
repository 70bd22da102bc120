/** A diffusion pipeline as diffusers writes one: a folder with model_index.json and a folder for each component. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { folderName } from "../files/snapshot-path.ts";
import type { AutoencoderConfig } from "../models/autoencoder-kl.ts";
import type { ClipTextConfig } from "../models/clip-text.ts";
import type { RawConfig } from "../models/config.ts";
import type { UNetConfig } from "../models/unet-config.ts";
import { AUTOENCODER, CLIP_TEXT, type Component, openComponent, UNET } from "./component.ts";

export interface TextEncoder extends Component<ClipTextConfig> {
  /** "text_encoder", or "text_encoder_2" of Stable Diffusion XL. */
  readonly component: string;
  /** The folder with its tokenizer's files; null when there is none. */
  readonly tokenizer: string | null;
}

export interface Pipeline {
  /** Last path segment. */
  readonly name: string;
  readonly folder: string;
  readonly unet: Component<UNetConfig>;
  readonly vae: Component<AutoencoderConfig>;
  /** One, or two whose hidden states stand side by side (Stable Diffusion XL). */
  readonly textEncoders: readonly TextEncoder[];
  /** What scheduler/scheduler_config.json holds. */
  readonly scheduler: RawConfig;
  /** Whether a negative prompt that is not given stands for zeros (Stable Diffusion XL). */
  readonly zeroNegative: boolean;
}

/** Class names of model_index.json's components that can be read. */
const CLASSES: Readonly<Record<string, readonly string[]>> = {
  unet: ["UNet2DConditionModel"],
  vae: ["AutoencoderKL"],
  text_encoder: ["CLIPTextModel"],
  text_encoder_2: ["CLIPTextModelWithProjection"],
};

export interface PipelineOptions {
  /** A folder of tokenizer files in place of the pipeline's own. */
  readonly tokenizer?: string | null;
}

/** Whether a folder is a diffusion pipeline's. */
export function isPipeline(folder: string): boolean {
  return existsSync(join(folder, "model_index.json"));
}

/** Opens a diffusers folder. Reads headers only. Throws ModelError for what is missing or cannot be computed. */
export function openPipeline(folder: string, { tokenizer = null }: PipelineOptions = {}): Pipeline {
  const path = join(folder, "model_index.json");
  if (!existsSync(path)) {
    throw new ModelError(
      `${folder}: no model_index.json. Give the folder of a diffusers pipeline (unet/, vae/, text_encoder/, tokenizer/, scheduler/).`,
    );
  }
  const index = readJsonObject(path);
  for (const [component, known] of Object.entries(CLASSES)) {
    const name = className(index, component);
    if (name !== null && !known.includes(name)) {
      throw new ModelError(`${path}: ${component} is a ${name}; known: ${known.join(", ")}.`);
    }
  }
  const encoders = ["text_encoder", "text_encoder_2"].filter((component) => className(index, component) !== null);
  if (encoders.length === 1 && encoders[0] === "text_encoder_2") {
    throw new ModelError(`${folder}: it has text_encoder_2 alone (a refiner), which is not supported.`);
  }
  const needed = ["unet", "vae", "scheduler", ...(encoders.length > 0 ? encoders : ["text_encoder"])];
  const missing = needed.filter((component) => !existsSync(join(folder, component)));
  if (missing.length > 0) {
    throw new ModelError(`${folder}: the folder of ${missing.join(" and ")} is missing. Download the whole pipeline.`);
  }
  return {
    name: folderName(folder),
    folder,
    unet: openComponent(join(folder, "unet"), UNET),
    vae: openComponent(join(folder, "vae"), AUTOENCODER),
    textEncoders: encoders.map((component) => ({
      ...openComponent(join(folder, component), CLIP_TEXT),
      component,
      tokenizer: tokenizer ?? tokenizerFolder(join(folder, component.replace("text_encoder", "tokenizer"))),
    })),
    scheduler: readJsonObject(join(folder, "scheduler", "scheduler_config.json")),
    zeroNegative: encoders.length === 2 && index["force_zeros_for_empty_prompt"] !== false,
  };
}

function tokenizerFolder(path: string): string | null {
  return existsSync(path) ? path : null;
}

/** The class of a component, null when the index names none: "unet": ["diffusers", "UNet2DConditionModel"]. */
function className(index: RawConfig, component: string): string | null {
  const entry = index[component];
  return Array.isArray(entry) && typeof entry[1] === "string" ? entry[1] : null;
}
