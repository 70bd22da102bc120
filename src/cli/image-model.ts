/** The base of an image command, and what its file may not say. */

import { PREDICTIONS } from "../diffusion/ldm-config.ts";
import type { PipelineOptions } from "../diffusion/pipeline.ts";

type Text<Choices> = { type: "string"; help: string } & Choices;

export const IMAGE_MODEL_FLAGS: {
  readonly tokenizer: Text<{ value: string }>;
  readonly modelConfig: Text<{ value: string }>;
  readonly prediction: Text<{ choices: readonly string[] }>;
} = {
  tokenizer: {
    type: "string",
    value: "DIR",
    help: "Tokenizer files, which single-file models lack: a folder, a hub id, or a diffusers folder with them",
  },
  modelConfig: {
    type: "string",
    value: "DIR",
    help: "For single-file models of unusual sizes: a diffusers folder whose configurations they go with",
  },
  prediction: {
    type: "string",
    choices: PREDICTIONS,
    help: "For single-file models: what they predict, where the file does not say",
  },
};

export interface ImageModelFlags {
  readonly model: string;
  readonly tokenizer?: string | undefined;
  readonly modelConfig?: string | undefined;
  readonly prediction?: string | undefined;
}

/** Repositories that hold CLIP's tokenizer, by how likely it is that someone has them. */
const TOKENIZERS = [
  "openai/clip-vit-large-patch14",
  "stable-diffusion-v1-5/stable-diffusion-v1-5",
  "runwayml/stable-diffusion-v1-5",
  "stabilityai/stable-diffusion-xl-base-1.0",
  "stabilityai/stable-diffusion-2-1",
  "stabilityai/stable-diffusion-2-1-base",
] as const;

/** The base's place, and options to open it with; a single file's tokenizer is looked for in the hub's cache. */
export async function imageModel(flags: ImageModelFlags): Promise<{ model: string } & Required<PipelineOptions>> {
  const [{ locateModel }, { isSingleFile }] = await Promise.all([
    import("../models/locate.ts"),
    import("../diffusion/single-file.ts"),
  ]);
  const { tokenizer = null, modelConfig = null, prediction = null } = flags;
  const model = locateModel(flags.model);
  const needed = isSingleFile(model) && tokenizer === null && modelConfig === null;
  return {
    model,
    tokenizer: needed ? await cachedTokenizer() : tokenizer,
    modelConfig,
    prediction: prediction as PipelineOptions["prediction"] as Required<PipelineOptions>["prediction"],
  };
}

async function cachedTokenizer(): Promise<string | null> {
  const [{ hubReference }, { hubSettings }, { snapshot }] = await Promise.all([
    import("../hub/reference.ts"),
    import("../hub/settings.ts"),
    import("../hub/snapshot.ts"),
  ]);
  const settings = { ...hubSettings(process.env), offline: true };
  for (const id of TOKENIZERS) {
    try {
      return await snapshot(settings, hubReference(id)!, "tokenizer");
    } catch {} // not in the cache
  }
  return null;
}
