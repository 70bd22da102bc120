/**
 * A single-file checkpoint as a pipeline: the UNet, the autoencoder and the text encoders of Stable Diffusion 1, 2 or XL in
 * one file, in the layout of the first releases. Tensors stay where they are and are mapped from there.
 */

import { existsSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { ModelError, UsageError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { openSafetensors, type TensorEntry } from "../files/safetensors.ts";
import { openTorchFile } from "../files/torch-file.ts";
import type { RawConfig } from "../models/config.ts";
import { AUTOENCODER, CLIP_TEXT, type ComponentKind, createComponent, UNET } from "./component.ts";
import {
  autoencoderConfig,
  type Family,
  type Prediction,
  schedulerConfig,
  type Tensors,
  textConfig,
  unetConfig,
} from "./ldm-config.ts";
import { ldmAutoencoderTensor, ldmUNetTensor, openClipTensors } from "./ldm-names.ts";
import type { Pipeline, PipelineOptions, TextEncoder } from "./pipeline.ts";
import { tokenizerIn } from "./tokenizer-folder.ts";

/** Whether a path is one file's, by its name. */
export function isSingleFile(path: string): boolean {
  return /\.(safetensors|ckpt|pt|pth)$/i.test(path);
}

const UNET_PREFIX = "model.diffusion_model.";
const VAE_PREFIXES = ["first_stage_model.", "vae."] as const;

interface TextPlace {
  readonly component: "text_encoder" | "text_encoder_2";
  readonly prefix: string;
  readonly open: boolean;
  readonly unused: number;
  readonly projects: boolean;
}

const CLIP_PLACE = { open: false, unused: 0, projects: false } as const;

/** Where each family's text encoders lie. Stable Diffusion 2 was trained on the last layer but one, and ends there. */
const TEXTS: Readonly<Record<Family, readonly TextPlace[]>> = {
  sd1: [{ component: "text_encoder", prefix: "cond_stage_model.transformer.", ...CLIP_PLACE }],
  sd2: [{ component: "text_encoder", prefix: "cond_stage_model.model.", open: true, unused: 1, projects: false }],
  sdxl: [
    { component: "text_encoder", prefix: "conditioner.embedders.0.transformer.", ...CLIP_PLACE },
    { component: "text_encoder_2", prefix: "conditioner.embedders.1.model.", open: true, unused: 0, projects: true },
  ],
};

/** OpenCLIP keeps its projection the other way round than transformers. */
const OPEN_CLIP_TEXT: typeof CLIP_TEXT = {
  ...CLIP_TEXT,
  configure: (raw) => ({ ...CLIP_TEXT.configure(raw), projectionLayout: "in,out" }),
};

/** Opens a file; no tensor is read. Throws ModelError for what is missing, UsageError where an option has to say more. */
export function openSingleFile(path: string, options: PipelineOptions): Pipeline {
  const { path: real, tensors, metadata } = openFile(path);
  return inFile(path, () => {
    const family = familyOf(tensors);
    const scheduler = configIn(options.modelConfig ?? null, "scheduler");
    const prediction = options.prediction ?? (scheduler ? "epsilon" : predictionOf(tensors, metadata, family));
    const given = (component: string, own: () => RawConfig): RawConfig =>
      configIn(options.modelConfig ?? null, component) ?? own();
    const unets = within(tensors, UNET_PREFIX);
    const unet = createComponent(
      path,
      given("unet", () => unetConfig(unets, family, prediction)),
      unets,
      renamed(UNET, (config, name) => ldmUNetTensor(config, name)),
    );
    const vaes = VAE_PREFIXES.map((prefix) => within(tensors, prefix)).find(({ size }) => size > 0);
    if (!vaes) throw new ModelError("It holds no autoencoder (first_stage_model.…). Take a checkpoint that has one.");
    const vae = createComponent(
      path,
      given("vae", () => autoencoderConfig(vaes, family)),
      vaes,
      renamed(AUTOENCODER, ({ block_out_channels }, name) => ldmAutoencoderTensor(block_out_channels.length, name)),
    );
    const textEncoders = TEXTS[family].map((place): TextEncoder => {
      const own = within(tensors, place.prefix);
      const named = place.open ? openClipTensors(own) : own;
      const raw = given(place.component, () => textConfig(named, place));
      return {
        ...createComponent(path, raw, named, place.open ? OPEN_CLIP_TEXT : CLIP_TEXT),
        component: place.component,
        ...tokenizerIn(options.tokenizer ?? options.modelConfig ?? null, place),
      };
    });
    return {
      name: basename(path, extname(path)),
      folder: path,
      configFolder: options.modelConfig ?? null,
      files: [real],
      unet,
      vae,
      textEncoders,
      scheduler:
        scheduler ?? schedulerConfig(family, prediction, tensors.has("ztsnr") && prediction === "v_prediction"),
      zeroNegative: family === "sdxl",
    };
  });
}

function openFile(path: string): {
  readonly path: string;
  readonly tensors: Tensors;
  readonly metadata: ReadonlyMap<string, string>;
} {
  if (path.toLowerCase().endsWith(".safetensors")) return openSafetensors(path);
  return { ...openTorchFile(path), metadata: new Map() };
}

/** The kind with the names of the first layout, which depend on its configuration. */
function renamed<C>(kind: ComponentKind<C>, name: (config: C, tensor: string) => string): ComponentKind<C> {
  return { ...kind, spellings: (tensor, config) => [name(config, tensor)] };
}

function within(tensors: Tensors, prefix: string): Map<string, TensorEntry> {
  const found = new Map<string, TensorEntry>();
  for (const [name, entry] of tensors) if (name.startsWith(prefix)) found.set(name.slice(prefix.length), entry);
  return found;
}

function familyOf(tensors: Tensors): Family {
  const holds = (prefix: string): boolean => [...tensors.keys()].some((name) => name.startsWith(prefix));
  if (!holds(UNET_PREFIX)) {
    throw new ModelError(
      `No tensor's name begins with ${UNET_PREFIX}, so it is no checkpoint of Stable Diffusion. Its names are like ${[...tensors.keys()].slice(0, 3).join(", ")}. A LoRA file goes with --adapter.`,
    );
  }
  if (holds(TEXTS.sdxl[1]!.prefix)) return "sdxl";
  if (holds(TEXTS.sd2[0]!.prefix)) return "sd2";
  if (holds(TEXTS.sd1[0]!.prefix)) return "sd1";
  const refiner = holds("conditioner.embedders.0.model.");
  throw new ModelError(
    refiner
      ? "It is a refiner of Stable Diffusion XL, which is not supported. Take the base model."
      : "It holds no text encoder (cond_stage_model.… or conditioner.embedders.…). Take a checkpoint that has one.",
  );
}

/** What the model predicts, where the file says it: in its header's ModelSpec, or by a tensor that trainers add. */
function predictionOf(tensors: Tensors, metadata: ReadonlyMap<string, string>, family: Family): Prediction {
  const said = metadata.get("modelspec.prediction_type");
  const architecture = metadata.get("modelspec.architecture") ?? "";
  if (said === "v" || tensors.has("v_pred") || /-768-v/.test(architecture)) return "v_prediction";
  if (said === "epsilon" || /-512/.test(architecture) || family !== "sd2") return "epsilon";
  throw new UsageError(
    "The file does not say what this Stable Diffusion 2 model predicts. Give --prediction v_prediction (models of 768 pixels) or --prediction epsilon (models of 512 pixels).",
  );
}

/** A component's configuration in a diffusers folder; null without the folder. */
function configIn(folder: string | null, component: string): RawConfig | null {
  if (folder === null) return null;
  const path = join(folder, component, component === "scheduler" ? "scheduler_config.json" : "config.json");
  if (existsSync(path)) return readJsonObject(path);
  throw new ModelError(`${path} is missing. Give --model-config the folder of a diffusers pipeline.`);
}

/** What goes wrong in a file, with its name. */
function inFile<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${path}: ${error.message}`);
    if (!(error instanceof ModelError) || error.message.startsWith(path)) throw error;
    throw new ModelError(`${path}: ${error.message}`);
  }
}
