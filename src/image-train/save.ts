/** What a run leaves: a LoRA as a file of diffusers and one of kohya's form, or a whole diffusers folder. */

import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { DIFFUSERS_FILE } from "../diffusion/read-lora.ts";
import { writeDiffusersLora, writeKohyaLora } from "../diffusion/write-lora.ts";
import { type ChangedComponent, writePipeline } from "../diffusion/write-pipeline.ts";
import { pixelsPerLatent } from "../models/autoencoder-kl.ts";
import type { ImageTrainOptions } from "./options.ts";
import type { Trained } from "./trained.ts";

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

/** The base with the trained components' tensors in their place, in float32. */
function savePipeline(folder: string, pipeline: Pipeline, { parameters }: Trained): readonly string[] {
  const changed = new Map<string, ChangedComponent & { tensors: Map<string, () => Float32Array> }>();
  for (const [key, { data }] of parameters) {
    const dot = key.indexOf(".");
    const own = changed.get(key.slice(0, dot)) ?? { tensors: new Map(), dtype: "f32" };
    own.tensors.set(key.slice(dot + 1), () => data);
    changed.set(key.slice(0, dot), own);
  }
  return writePipeline(pipeline, folder, changed);
}

/** Source of the names: kohya's `train_network.py`, and ModelSpec 1.0.1. */
function kohyaMetadata(
  { name, unet: { config }, vae, scheduler }: Pipeline,
  options: ImageTrainOptions,
  { images, steps, tags }: TrainingFacts,
): Record<string, string> {
  const { r, alpha, convR, convAlpha, trigger, data, lr, seed, noiseOffset, minSnrGamma, out } = options;
  const velocity = scheduler["prediction_type"] === "v_prediction";
  const [version, base] = config.textTime
    ? ["stable-diffusion-xl-v1-base", "sdxl_base_v1-0"]
    : config.cross_attention_dim === 1024
      ? [`stable-diffusion-v2-${velocity ? "768-v" : "512"}`, velocity ? "sd_v2_v" : "sd_v2"]
      : ["stable-diffusion-v1", "sd_v1"];
  const resolution = options.resolution ?? config.sample_size * pixelsPerLatent(vae.config);
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
    ss_base_model_version: base,
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
    "modelspec.prediction_type": velocity ? "v" : "epsilon",
    ...(trigger === null ? {} : { "modelspec.trigger_phrase": trigger }),
  };
}
