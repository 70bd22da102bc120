/**
 * What the first checkpoints of Stable Diffusion ("LDM", one file for all models) call the tensors that diffusers keeps in
 * folders. Source: diffusers `loaders/single_file_utils.py`.
 */

import type { TensorEntry } from "../files/safetensors.ts";
import type { UNetConfig } from "../models/unet-config.ts";

/** Parts of a residual block in the first layout. */
const RESNET: Readonly<Record<string, string>> = {
  norm1: "in_layers.0",
  conv1: "in_layers.2",
  norm2: "out_layers.0",
  conv2: "out_layers.3",
  time_emb_proj: "emb_layers.1",
  conv_shortcut: "skip_connection",
};
const SINGLE: Readonly<Record<string, string>> = {
  conv_in: "input_blocks.0.0",
  conv_norm_out: "out.0",
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

/** The name of a UNet's tensor in that layout; its own where the layout has none. */
export function ldmUNetTensor(config: UNetConfig, tensor: string): string {
  const dot = tensor.lastIndexOf(".");
  const module = ldmName(config, tensor.slice(0, dot));
  return module === null ? tensor : `${module}${tensor.slice(dot)}`;
}

/** The name of an autoencoder's tensor; `blocks` is how many there are on each way. */
export function ldmAutoencoderTensor(blocks: number, tensor: string): string {
  return tensor
    .replace(/^(encoder|decoder)\.conv_norm_out\./, "$1.norm_out.")
    .replace(/\.down_blocks\.(\d+)\.downsamplers\.0\./, ".down.$1.downsample.")
    .replace(/\.up_blocks\.(\d+)\.upsamplers\.0\./, (_, i: string) => `.up.${blocks - 1 - Number(i)}.upsample.`)
    .replace(/\.down_blocks\.(\d+)\.resnets\./, ".down.$1.block.")
    .replace(/\.up_blocks\.(\d+)\.resnets\./, (_, i: string) => `.up.${blocks - 1 - Number(i)}.block.`)
    .replace(/\.mid_block\.resnets\.(\d)\./, (_, i: string) => `.mid.block_${Number(i) + 1}.`)
    .replace(".conv_shortcut.", ".nin_shortcut.")
    .replace(/\.mid_block\.attentions\.0\.(.+)\.(weight|bias)$/, (_, part: string, kind: string) => {
      const names: Readonly<Record<string, string>> = {
        group_norm: "norm",
        to_q: "q",
        to_k: "k",
        to_v: "v",
        "to_out.0": "proj_out",
      };
      return `.mid.attn_1.${names[part] ?? part}.${kind}`;
    });
}

const OPEN_CLIP: readonly (readonly [RegExp, string])[] = [
  [/^token_embedding\./, "text_model.embeddings.token_embedding."],
  [/^positional_embedding$/, "text_model.embeddings.position_embedding.weight"],
  [/^ln_final\./, "text_model.final_layer_norm."],
  [/^text_projection$/, "text_projection.weight"],
  [/^transformer\.resblocks\./, "text_model.encoder.layers."],
  [/\.ln_([12])\./, ".layer_norm$1."],
  [/\.mlp\.c_fc\./, ".mlp.fc1."],
  [/\.mlp\.c_proj\./, ".mlp.fc2."],
  [/\.attn\.out_proj\./, ".self_attn.out_proj."],
];

/**
 * An OpenCLIP text encoder's tensors by transformers' names. Its queries, keys and values lie in one tensor, one under
 * another: each gets the part of the file that is its own.
 */
export function openClipTensors(tensors: ReadonlyMap<string, TensorEntry>): Map<string, TensorEntry> {
  const named = new Map<string, TensorEntry>();
  for (const [name, entry] of tensors) {
    const fused = /^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$/.exec(name);
    if (!fused) {
      named.set(
        OPEN_CLIP.reduce((text, [from, to]) => text.replace(from, to), name),
        entry,
      );
      continue;
    }
    const [rows = 0, ...rest] = entry.shape;
    if (rows % 3 !== 0) continue; // missed, and named, when the encoder asks for it
    const byteLength = entry.byteLength / 3;
    ["q_proj", "k_proj", "v_proj"].forEach((part, i) => {
      const own = `text_model.encoder.layers.${fused[1]}.self_attn.${part}.${fused[2]}`;
      const offset = entry.offset + i * byteLength;
      named.set(own, { ...entry, name: own, shape: [rows / 3, ...rest], offset, byteLength });
    });
  }
  return named;
}
