/** A pipeline computed in eight bits: linear layers and convolutions of one pixel, of the UNet and the text encoders. */

import { defaultCacheFolder } from "../files/cache-folder.ts";
import { quantiseModel } from "../precision/cache.ts";
import { byteLevels, type Levels } from "../precision/levels.ts";
import type { Runtime } from "../runtime/session.ts";
import type { Component } from "./component.ts";
import type { Pipeline } from "./pipeline.ts";

export const IMAGE_PRECISIONS = ["fp32", "int8"] as const;
export type ImagePrecision = (typeof IMAGE_PRECISIONS)[number];

/** Layers that see one row an image: nothing is gained there, and every pixel depends on them. */
const FLOAT = /(^|\.)(time_embedding|add_embedding|time_emb_proj|text_projection)(\.|$)/;

/** The pipeline at this precision; quantised copies are made in `cacheDir` (null: ~/.cache/lowrank) when there are none. */
export async function pipelineAt(
  pipeline: Pipeline,
  precision: ImagePrecision,
  { cacheDir, runtime }: { readonly cacheDir: string | null; readonly runtime: Runtime },
): Promise<Pipeline> {
  if (precision === "fp32") return pipeline;
  const options = { cacheDir: cacheDir ?? defaultCacheFolder(), levels: await byteLevels(runtime) };
  return {
    ...pipeline,
    unet: await quantised(pipeline, "unet", pipeline.unet, options),
    textEncoders: await Promise.all(
      pipeline.textEncoders.map((encoder) => quantised(pipeline, encoder.component, encoder, options)),
    ),
  };
}

async function quantised<C extends Component<unknown>>(
  pipeline: Pipeline,
  name: string,
  component: C,
  options: { readonly cacheDir: string; readonly levels: Levels },
): Promise<C> {
  const model = { ...component, name: `${pipeline.name}-${name}` };
  const { weights } = await quantiseModel(model, component.trace, {
    ...options,
    keeps: (module) => FLOAT.test(module),
  });
  return { ...component, weights };
}
