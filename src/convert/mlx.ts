/**
 * Adapters of mlx-lm: `adapters.safetensors` with `lora_a` [in, r] and `lora_b` [r, out], and a configuration that has
 * PEFT's file name and its own fields. Source: github.com/ml-explore/mlx-lm `mlx_lm/tuner/lora.py`, `tuner/utils.py`.
 */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { CONFIG_FILE } from "../adapters/peft-folder.ts";
import { AdapterMismatchError, FormatError, UsageError } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { isRecord, readJsonObject } from "../files/json-file.ts";
import { openSafetensors, readTensor, type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import { type LoraFile, type LowRank, plainConfig } from "./lora-file.ts";

export const MLX_WEIGHTS = "adapters.safetensors";

/** Tables, which mlx-lm adapts with factors of the same names as linear layers. */
const TABLE = /(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)$/;

/** Whether a folder is mlx-lm's. */
export function isMlxFolder(path: string): boolean {
  return existsSync(join(path, MLX_WEIGHTS)) && existsSync(join(path, CONFIG_FILE));
}

/** Throws UsageError for DoRA and full fine-tunes, AdapterMismatchError for factors that lack a partner. */
export function readMlx(path: string): LoraFile {
  const fields = readJsonObject(join(path, CONFIG_FILE));
  const type = fields["fine_tune_type"] ?? "lora";
  if (type !== "lora") throw new UsageError(`${path}: fine_tune_type is ${JSON.stringify(type)}, needed "lora".`);
  const parameters = isRecord(fields["lora_parameters"]) ? fields["lora_parameters"] : {};
  // Older files have α; the factor was α / rank then.
  const { scale, alpha, rank: noted } = parameters;
  const scaling =
    typeof scale === "number" ? scale : typeof alpha === "number" && typeof noted === "number" ? alpha / noted : null;
  if (scaling === null)
    throw new FormatError(`${join(path, CONFIG_FILE)}: lora_parameters.scale is missing, needed a number.`);
  const { tensors } = openSafetensors(join(path, MLX_WEIGHTS));
  const modules = new Map<string, LowRank>();
  const problems: string[] = [];
  for (const [key, entry] of tensors) {
    const [, module = "", half] = /^(.+)\.lora_([ab])$/.exec(key) ?? [];
    const other = tensors.get(`${module}.lora_${half === "a" ? "b" : "a"}`);
    if (half === undefined) problems.push(`${key}: not one of lora_a and lora_b`);
    else if (!other) problems.push(`${key}: its other half is missing`);
    else if (half === "a") {
      const [width, rank, height] = [entry.shape[0]!, entry.shape[1]!, other.shape[1]!];
      if (entry.shape.length !== 2 || other.shape.length !== 2 || other.shape[0] !== rank) {
        problems.push(`${key}: [${entry.shape}] and [${other.shape}] do not fit, needed [in, r] and [r, out]`);
        continue;
      }
      const A = transpose(toFloat32(readTensor(entry)), width, rank);
      const B = transpose(toFloat32(readTensor(other)), rank, height);
      modules.set(module, { rank, in: width, out: height, A, B, scaling, embedding: TABLE.test(module) });
    }
  }
  if (problems.length > 0 || modules.size === 0) {
    const lines = problems.slice(0, 20).map((each) => `\n  ${each}`);
    throw new AdapterMismatchError(
      `${path} is no whole mlx-lm adapter:${lines.join("")}\nCopy or train it again.`,
      problems,
    );
  }
  const model = fields["model"];
  const gpt2 = [...modules.keys()].some((name) => name.endsWith(".attn.c_attn"));
  const config = plainConfig(modules.keys(), {
    task_type: "CAUSAL_LM",
    base_model_name_or_path: typeof model === "string" ? model : null,
    fan_in_fan_out: gpt2,
  });
  return { path, config, modules };
}

/** Writes a folder that mlx-lm loads with --adapter-path: one rank (zeros fill up) and one scale for all modules. */
export function writeMlx(out: string, { config, modules }: LoraFile): void {
  const all = [...modules.values()];
  const rank = Math.max(...all.map((each) => each.rank));
  const scale = all.find(({ scaling }) => scaling !== 0)?.scaling ?? 1;
  const tensors = new Map<string, WritableTensor>();
  for (const [module, factors] of modules) {
    const { in: width, out: height } = factors;
    const a = new Float32Array(width * rank);
    const b = new Float32Array(rank * height);
    const factor = factors.scaling / scale;
    for (let k = 0; k < factors.rank; k++) {
      for (let i = 0; i < width; i++) a[i * rank + k] = factors.A[k * width + i]!;
      for (let i = 0; i < height; i++) b[k * height + i] = factor * factors.B[i * factors.rank + k]!;
    }
    tensors.set(`${module}.lora_a`, { dtype: "f32", shape: [width, rank], data: a });
    tensors.set(`${module}.lora_b`, { dtype: "f32", shape: [rank, height], data: b });
  }
  const keys = [...new Set([...modules.keys()].map((name) => name.replace(/^.*\.(?:layers|h)\.\d+\./, "")))];
  mkdirSync(out, { recursive: true });
  writeSafetensors(join(out, MLX_WEIGHTS), tensors);
  writeJsonAtomic(join(out, CONFIG_FILE), {
    fine_tune_type: "lora",
    model: config.base_model_name_or_path,
    num_layers: -1,
    lora_parameters: { rank, scale, dropout: config.lora_dropout, keys: keys.toSorted((x, y) => (x < y ? -1 : 1)) },
  });
}
