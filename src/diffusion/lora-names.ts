/**
 * What LoRA files call the layers of a pipeline. Kohya's names have underscores where the model has dots, so they cannot
 * be taken apart: the table is built from the model.
 */

import type { ModelTrace } from "../models/trace.ts";
import type { UNetConfig } from "../models/unet-config.ts";
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

/** Parts of a residual block in the first layout. */
const RESNET: Readonly<Record<string, string>> = {
  conv1: "in_layers.2",
  conv2: "out_layers.3",
  time_emb_proj: "emb_layers.1",
  conv_shortcut: "skip_connection",
};
const SINGLE: Readonly<Record<string, string>> = {
  conv_in: "input_blocks.0.0",
  conv_out: "out.2",
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  "add_embedding.linear_1": "label_emb.0.0",
  "add_embedding.linear_2": "label_emb.0.2",
};

/**
 * A UNet's layer in the layout of the first checkpoints, whose blocks are numbered through: input_blocks.4.1 is the
 * attention of block (4 − 1) ÷ (layers + 1), layer (4 − 1) mod (layers + 1). Null for what that layout lacks.
 */
export function ldmName(
  { layers_per_block: layers, block_out_channels: channels, up }: UNetConfig,
  module: string,
): string | null {
  const single = SINGLE[module];
  if (single !== undefined) return single;
  const [part = "", second = "", kind = "", fourth = "", ...rest] = module.split(".");
  const inner = (index: number): string | null => {
    if (kind === "attentions") return `${rest.join(".")}` === "" ? null : `${index}.${rest.join(".")}`;
    const [name = "", ...more] = rest;
    return RESNET[name] === undefined ? null : [index, RESNET[name], ...more].join(".");
  };
  const before = (per: (block: number) => number, block: number): number => {
    let sum = 0;
    for (let i = 0; i < block; i++) sum += per(i);
    return sum;
  };
  if (part === "mid_block") {
    const [, list, index, ...more] = module.split(".");
    const place = list === "attentions" ? 1 : 2 * Number(index);
    const tail = list === "attentions" ? more.join(".") : [RESNET[more[0]!], ...more.slice(1)].join(".");
    return `middle_block.${place}.${tail}`;
  }
  const block = Number(second);
  if (part === "down_blocks") {
    const first = 1 + before((i) => layers[i]! + 1, block);
    if (kind === "downsamplers") return `input_blocks.${first + layers[block]!}.0.op`;
    const tail = inner(kind === "resnets" ? 0 : 1);
    return tail && `input_blocks.${first + Number(fourth)}.${tail}`;
  }
  if (part === "up_blocks") {
    const per = (i: number): number => layers[channels.length - 1 - i]! + 1;
    const first = before(per, block);
    if (kind === "upsamplers") return `output_blocks.${first + per(block) - 1}.${up[block] ? 2 : 1}.conv`;
    const tail = inner(kind === "resnets" ? 0 : 1);
    return tail && `output_blocks.${first + Number(fourth)}.${tail}`;
  }
  return null;
}
