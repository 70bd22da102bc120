/**
 * What LoRA files call the layers of a pipeline. Kohya's names have underscores where the model has dots, so they cannot
 * be taken apart: the table is built from the model.
 */

import type { ModelTrace } from "../models/trace.ts";
import { ldmName } from "./ldm-names.ts";
import type { Pipeline } from "./pipeline.ts";

export interface LayerPlace {
  /** "unet", "text_encoder" or "text_encoder_2". */
  readonly component: string;
  readonly module: string;
}

/** The name of a layer in kohya's files; those of Stable Diffusion XL's UNet are of the first checkpoint's layout. */
export function kohyaName({ unet, textEncoders }: Pipeline, component: string, module: string): string {
  if (component === "unet") {
    const name = unet.config.textTime ? (ldmName(unet.config, module) ?? module) : module;
    return `lora_unet_${underscored(name)}`;
  }
  const prefix = textEncoders.length === 1 ? "lora_te" : component === "text_encoder" ? "lora_te1" : "lora_te2";
  return `${prefix}_${underscored(module)}`;
}

/** Every spelling of every layer before the first dot of a key, and its place. */
export function kohyaTable({ unet, textEncoders }: Pipeline): ReadonlyMap<string, LayerPlace> {
  const table = new Map<string, LayerPlace>();
  for (const module of layersOf(unet.trace)) {
    const place = { component: "unet", module };
    const ldm = ldmName(unet.config, module);
    for (const name of [module, ...(ldm === null ? [] : [ldm])]) table.set(`lora_unet_${underscored(name)}`, place);
  }
  textEncoders.forEach(({ component, trace }, i) => {
    for (const module of layersOf(trace)) {
      const names = [module, module.replace(/^text_model\./, "")];
      const prefixes = [`lora_te${i + 1}`, ...(textEncoders.length === 1 ? ["lora_te"] : [])];
      for (const prefix of prefixes) {
        for (const name of names) table.set(`${prefix}_${underscored(name)}`, { component, module });
      }
    }
  });
  return table;
}

/** Layers by diffusers' names, the component before them: "unet.down_blocks.0.…", "text_encoder.text_model.…". */
export function diffusersTable({ unet, textEncoders }: Pipeline): ReadonlyMap<string, LayerPlace> {
  const table = new Map<string, LayerPlace>();
  const add = (component: string, { modules, convolutions }: ModelTrace): void => {
    for (const module of [...modules.keys(), ...convolutions.keys()]) {
      const place = { component, module };
      table.set(`${component}.${module}`, place);
      table.set(`${component}.${module.replace(/^text_model\./, "")}`, place);
      // The oldest files have no component: they were of the UNet alone.
      if (component === "unet") table.set(module, place);
    }
  };
  add("unet", unet.trace);
  for (const { component, trace } of textEncoders) add(component, trace);
  return table;
}

export function layersOf({ modules, convolutions }: ModelTrace): string[] {
  return [...modules.keys(), ...convolutions.keys()];
}

function underscored(name: string): string {
  return name.replaceAll(".", "_");
}
