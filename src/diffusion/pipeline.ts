/** A diffusion pipeline: a folder of diffusers with one for each component, or a single-file checkpoint. */

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
import type { Prediction } from "./ldm-config.ts";
import { isSingleFile, openSingleFile } from "./single-file.ts";
import { tokenizerIn } from "./tokenizer-folder.ts";

export interface TextEncoder extends Component<ClipTextConfig> {
  /** "text_encoder", or "text_encoder_2" of Stable Diffusion XL. */
  readonly component: string;
  /** The folder with its tokenizer's files; null when there is none. */
  readonly tokenizer: string | null;
  /** Id that texts are filled up with; null: as the tokenizer's own files say. */
  readonly padding: number | null;
}

export interface Pipeline {
  /** Last path segment. */
  readonly name: string;
  /** A folder of diffusers, or the path of a single file. */
  readonly folder: string;
  /** The diffusers folder whose configurations it has; null where they were read off the tensors' shapes. */
  readonly configFolder: string | null;
  /** Every file with weights. */
  readonly files: readonly string[];
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
  /** A folder of tokenizer files, or of a pipeline that has them, in place of the pipeline's own. */
  readonly tokenizer?: string | null;
  /** For single files of unusual sizes: a diffusers folder whose configurations they go with. */
  readonly modelConfig?: string | null;
  /** For single files: what the model predicts; null: as the file says, which those of Stable Diffusion 2 seldom do. */
  readonly prediction?: Prediction | null;
}

/** Whether a path is a diffusion pipeline's. */
export function isPipeline(path: string): boolean {
  return isSingleFile(path) || existsSync(join(path, "model_index.json"));
}

/**
 * Opens a diffusers folder or a single-file checkpoint. Reads headers only. Throws ModelError for what is missing or
 * cannot be computed.
 */
export function openPipeline(folder: string, options: PipelineOptions = {}): Pipeline {
  if (isSingleFile(folder)) return openSingleFile(folder, options);
  const { tokenizer = null } = options;
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
  const unet = openComponent(join(folder, "unet"), UNET);
  const vae = openComponent(join(folder, "vae"), AUTOENCODER);
  const textEncoders = encoders.map((component): TextEncoder => {
    const own = join(folder, component.replace("text_encoder", "tokenizer"));
    return {
      ...openComponent(join(folder, component), CLIP_TEXT),
      component,
      ...(tokenizer === null
        ? { tokenizer: existsSync(own) ? own : null, padding: null }
        : tokenizerIn(tokenizer, { component, open: component === "text_encoder_2" })),
    };
  });
  return {
    name: folderName(folder),
    folder,
    configFolder: folder,
    files: [unet, vae, ...textEncoders].flatMap(({ files }) => files),
    unet,
    vae,
    textEncoders,
    scheduler: readJsonObject(join(folder, "scheduler", "scheduler_config.json")),
    zeroNegative: encoders.length === 2 && index["force_zeros_for_empty_prompt"] !== false,
  };
}

/** Components by name, as LoRA files and folders call them. */
export function componentsOf({ unet, vae, textEncoders }: Pipeline): ReadonlyMap<string, Component<unknown>> {
  const encoders = textEncoders.map((encoder): [string, Component<unknown>] => [encoder.component, encoder]);
  return new Map<string, Component<unknown>>([["unet", unet], ["vae", vae], ...encoders]);
}

/** The class of a component, null when the index names none: "unet": ["diffusers", "UNet2DConditionModel"]. */
function className(index: RawConfig, component: string): string | null {
  const entry = index[component];
  return Array.isArray(entry) && typeof entry[1] === "string" ? entry[1] : null;
}
