/**
 * Checkpoints of loralib (microsoft/LoRA), the paper's own library: `lora_A` and `lora_B` in a pickled state dict that
 * tells neither α nor which slices of a fused layer are adapted.
 * Source: github.com/microsoft/LoRA `loralib/layers.py`.
 */

import { AdapterMismatchError, UsageError } from "../errors.ts";
import { readTensor, type TensorEntry } from "../files/safetensors.ts";
import { openTorchFile } from "../files/torch-file.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type LoraFile, type LowRank, plainConfig } from "./lora-file.ts";

export interface LoralibOptions {
  /** lora_alpha of the training script; the checkpoint lacks it. */
  readonly alpha?: number | undefined;
  /** Slices of fused layers that were adapted; q and v of q, k, v when two were. */
  readonly enableLora?: readonly boolean[] | undefined;
}

/**
 * Reads the factors; tensors that are none (a head, or a whole model) are named in `left`. A fused layer of k adapted
 * slices becomes one of rank k · r whose B has the slices' blocks on its diagonal: the same update exactly.
 */
export function readLoralib(path: string, options: LoralibOptions): LoraFile & { readonly left: readonly string[] } {
  const { tensors } = openTorchFile(path);
  if (![...tensors.keys()].some((key) => /\.lora_[AB]$/.test(key))) {
    throw new AdapterMismatchError(`${path}: no tensor ends in lora_A or lora_B. Is it a checkpoint of loralib?`, []);
  }
  const { alpha } = options;
  if (alpha === undefined) {
    throw new UsageError(`${path}: loralib's files do not tell lora_alpha. Give the one it was trained with: --alpha.`);
  }
  const modules = new Map<string, LowRank>();
  const left: string[] = [];
  const problems: string[] = [];
  for (const [key, entry] of tensors) {
    const [, name = "", half] = /^(.+)\.lora_([AB])$/.exec(key) ?? [];
    const other = tensors.get(`${name}.lora_${half === "A" ? "B" : "A"}`);
    if (half === undefined) left.push(key);
    else if (!other) problems.push(`${key}: its other half is missing`);
    else if (half === "A") {
      const found = readPair(entry, other, alpha, options.enableLora);
      if (typeof found === "string") problems.push(`${name}: ${found}`);
      else modules.set(name.replace(/^module\./, ""), found);
    }
  }
  if (problems.length > 0) {
    const lines = problems.slice(0, 20).map((each) => `\n  ${each}`);
    throw new AdapterMismatchError(`${path} cannot be read:${lines.join("")}`, problems);
  }
  const gpt2 = [...modules.keys()].some((name) => name.endsWith(".c_attn"));
  const config = plainConfig(modules.keys(), { task_type: gpt2 ? "CAUSAL_LM" : null, fan_in_fan_out: gpt2 });
  return { path, config, modules, left };
}

/** The factors of a layer, or what is wrong with them. A [k·r, in], B [k·out/n, r]. */
function readPair(a: TensorEntry, b: TensorEntry, alpha: number, enable?: readonly boolean[]): LowRank | string {
  const [rows = 0, width = 0] = a.shape;
  const [height = 0, r = 0] = b.shape;
  const fits = a.shape.length === 2 && b.shape.length === 2 && r > 0 && rows % r === 0 && height % (rows / r) === 0;
  if (!fits) return `A [${a.shape}] and B [${b.shape}] do not fit, needed [k·r, in] and [k·out/n, r]`;
  const slices = rows / r;
  const [A, stacked] = [toFloat32(readTensor(a)), toFloat32(readTensor(b))];
  const scaling = alpha / r;
  // Of one slice only `enable` can tell whether the layer is fused; where it is, its slice is as wide as the input.
  const fused = slices > 1 || (enable !== undefined && enable.filter(Boolean).length === 1 && enable.length > 1);
  if (!fused) return { rank: r, in: width, out: height, A, B: stacked, scaling, embedding: false };
  const which = enable ?? (slices === 2 ? [true, false, true] : slices === 3 ? [true, true, true] : []);
  const enabled = [...which.keys()].filter((i) => which[i]);
  if (enabled.length !== slices) {
    return `${slices} slices are adapted, but --enable-lora names ${enabled.length}. Give the layer's own: --enable-lora true,false,true`;
  }
  const part = height / slices;
  const out = part * which.length;
  const B = new Float32Array(out * rows);
  enabled.forEach((slice, g) => {
    for (let i = 0; i < part; i++) {
      const from = (g * part + i) * r;
      B.set(stacked.subarray(from, from + r), (slice * part + i) * rows + g * r);
    }
  });
  return { rank: rows, in: width, out, A, B, scaling, embedding: false };
}
