/** LoRA files for diffusion: diffusers' own form, and kohya's, which user interfaces read. */

import { type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { floatTensor } from "../tensor/tensor.ts";
import type { ImageAdapter, ImageBranch } from "./adapter.ts";
import { kohyaName } from "./lora-names.ts";
import type { Pipeline } from "./pipeline.ts";

export type LoraMetadata = Readonly<Record<string, string>>;

/**
 * A text encoder's layer as diffusers finds it: transformers 5 has no "text_model." before it, and diffusers 0.42 takes
 * keys as they are.
 */
function diffusersName(component: string, module: string): string {
  return component.startsWith("text_encoder") ? module.replace(/^text_model\./, "") : module;
}

/**
 * `unet.MODULE.lora_A.weight` and `.lora_B.weight`, with ranks and alphas as JSON in the header
 * (`lora_adapter_metadata`), as diffusers' `save_lora_weights` writes them.
 */
export function writeDiffusersLora(path: string, adapter: ImageAdapter, metadata: LoraMetadata = {}): void {
  const tensors = new Map<string, WritableTensor>();
  const configs: Record<string, unknown> = {};
  for (const [component, branches] of adapter) {
    for (const [module, { A, B }] of branches) {
      const name = `${component}.${diffusersName(component, module)}`;
      tensors.set(`${name}.lora_A.weight`, A);
      tensors.set(`${name}.lora_B.weight`, B);
    }
    const named = new Map([...branches].map(([module, branch]) => [diffusersName(component, module), branch]));
    for (const [field, value] of Object.entries(configOf(named))) configs[`${component}.${field}`] = value;
  }
  writeSafetensors(path, tensors, {
    ...metadata,
    format: "pt",
    lora_adapter_metadata: JSON.stringify(configs, null, 2),
  });
}

/** `lora_unet_MODULE.lora_down.weight`, `.lora_up.weight` and `.alpha`, dots of MODULE as underscores. */
export function writeKohyaLora(
  path: string,
  pipeline: Pipeline,
  adapter: ImageAdapter,
  metadata: LoraMetadata = {},
): void {
  const tensors = new Map<string, WritableTensor>();
  for (const [component, branches] of adapter) {
    for (const [module, branch] of branches) {
      const name = kohyaName(pipeline, component, module);
      tensors.set(`${name}.lora_down.weight`, branch.A);
      tensors.set(`${name}.lora_up.weight`, branch.B);
      tensors.set(`${name}.alpha`, floatTensor([], Float32Array.of(alphaOf(branch))));
    }
  }
  writeSafetensors(path, tensors, { format: "pt", ...metadata });
}

/** α, for which α / r is the scale again in float32 arithmetic of α. */
export function alphaOf({ A, scale }: ImageBranch): number {
  return Math.fround(scale * A.shape[0]!);
}

/** PEFT's configuration of a component's branches: the commonest rank and α, and patterns for the others. */
function configOf(branches: ReadonlyMap<string, ImageBranch>): Record<string, unknown> {
  const all = [...branches];
  const r = commonest(all.map(([, { A }]) => A.shape[0]!));
  const alpha = commonest(all.map(([, branch]) => alphaOf(branch)));
  const others = (value: (branch: ImageBranch) => number, common: number): Record<string, number> =>
    Object.fromEntries(all.flatMap(([module, each]) => (value(each) === common ? [] : [[module, value(each)]])));
  return {
    r,
    lora_alpha: alpha,
    rank_pattern: others(({ A }) => A.shape[0]!, r),
    alpha_pattern: others(alphaOf, alpha),
    target_modules: all.map(([module]) => module),
    lora_dropout: 0,
    bias: "none",
    use_dora: false,
    use_rslora: false,
    init_lora_weights: true,
    peft_type: "LORA",
  };
}

function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, each) => (each[1] > best[1] ? each : best), [0, 0] as const)[0];
}
