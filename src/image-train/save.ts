/** What a run leaves: a LoRA as a file of diffusers and one of kohya's form, or a whole diffusers folder. */

import { cpSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { DIFFUSERS_FILE } from "../diffusion/read-lora.ts";
import { writeDiffusersLora, writeKohyaLora } from "../diffusion/write-lora.ts";
import { writeSafetensors } from "../files/safetensors.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { ImageTrainOptions } from "./options.ts";
import { type Trained, weightsFile } from "./trained.ts";

/** What user interfaces show of a LoRA's training. */
export interface TrainingFacts {
  readonly images: number;
  readonly steps: number;
  /** How often each tag stands in the captions. */
  readonly tags: Readonly<Record<string, number>>;
}

/** Writes into `folder`; returns the files that hold what was trained. */
export function saveTrained(
  folder: string,
  pipeline: Pipeline,
  trained: Trained,
  options: ImageTrainOptions,
  facts: TrainingFacts,
): readonly string[] {
  mkdirSync(folder, { recursive: true });
  if (options.method !== "lora") return savePipeline(folder, pipeline, trained);
  const diffusers = join(folder, DIFFUSERS_FILE);
  const kohya = join(folder, `${basename(options.out)}.safetensors`);
  const metadata = kohyaMetadata(pipeline, options, facts);
  writeDiffusersLora(diffusers, trained.adapter, metadata);
  writeKohyaLora(kohya, pipeline, trained.adapter, metadata);
  return [diffusers, kohya];
}

/** The base's folder with the trained components' tensors in their place. */
function savePipeline(folder: string, pipeline: Pipeline, trained: Trained): readonly string[] {
  const byComponent = new Map<string, [string, FloatTensor][]>();
  for (const [key, tensor] of trained.parameters) {
    const dot = key.indexOf(".");
    const own = byComponent.get(key.slice(0, dot)) ?? [];
    own.push([key.slice(dot + 1), tensor]);
    byComponent.set(key.slice(0, dot), own);
  }
  cpSync(pipeline.folder, folder, {
    recursive: true,
    dereference: true,
    filter: (path) => ![...byComponent.keys()].some((name) => path === weightsFile(pipeline.folder, name)),
  });
  return [...byComponent].map(([component, tensors]) => {
    const path = weightsFile(folder, component);
    writeSafetensors(path, tensors, { format: "pt" });
    return path;
  });
}

/** Source of the names: kohya's `train_network.py`, and ModelSpec 1.0.1. */
function kohyaMetadata(
  { name, unet: { config }, scheduler }: Pipeline,
  options: ImageTrainOptions,
  { images, steps, tags }: TrainingFacts,
): Record<string, string> {
  const { r, alpha, convR, convAlpha, trigger, data, lr, seed, noiseOffset, minSnrGamma, out } = options;
  const version = config.cross_attention_dim === 1024 ? "stable-diffusion-v2" : "stable-diffusion-v1";
  const resolution = options.resolution ?? "";
  return {
    format: "pt",
    ss_network_module: "networks.lora",
    ss_network_dim: String(r),
    ss_network_alpha: String(alpha ?? r),
    ...(convR === 0
      ? {}
      : { ss_network_args: JSON.stringify({ conv_dim: String(convR), conv_alpha: String(convAlpha ?? convR) }) }),
    ss_output_name: basename(out),
    ss_sd_model_name: name,
    ss_base_model_version: version === "stable-diffusion-v2" ? "sd_v2" : "sd_v1",
    ss_learning_rate: String(lr ?? 1e-4),
    ss_resolution: `(${resolution}, ${resolution})`,
    ss_num_train_images: String(images),
    ss_steps: String(steps),
    ss_seed: String(seed),
    ss_noise_offset: String(noiseOffset),
    ss_min_snr_gamma: String(minSnrGamma ?? "None"),
    ss_tag_frequency: JSON.stringify({ [basename(data)]: tags }),
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": `${version}/lora`,
    "modelspec.implementation": "diffusers",
    "modelspec.title": basename(out),
    "modelspec.resolution": `${resolution}x${resolution}`,
    "modelspec.prediction_type": scheduler["prediction_type"] === "v_prediction" ? "v" : "epsilon",
    ...(trigger === null ? {} : { "modelspec.trigger_phrase": trigger }),
  };
}
