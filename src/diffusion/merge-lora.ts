/** A pipeline with adapters merged into its weights: a diffusers folder of its own. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { FloatType } from "../adapters/merge.ts";
import { LowrankError } from "../errors.ts";
import type { ImageAdapter } from "./adapter.ts";
import { readOwn } from "./component.ts";
import { productOf } from "./lora-updates.ts";
import { componentsOf, type Pipeline } from "./pipeline.ts";
import { type ChangedComponent, writePipeline } from "./write-pipeline.ts";

/**
 * Writes W + Σ weight · ΔW into `out`, summed in float32 and rounded once. `dtype` is the type of all components; null
 * keeps each tensor's own. Throws LowrankError where `out` is a pipeline already, and for values beyond float16.
 */
export function mergeImageLora(
  pipeline: Pipeline,
  adapters: readonly (readonly [ImageAdapter, number])[],
  out: string,
  dtype: FloatType | null = "f32",
): void {
  if (existsSync(join(out, "model_index.json"))) {
    throw new LowrankError(`${out} holds a pipeline already. Choose another --out.`);
  }
  const changed = new Map<string, ChangedComponent>();
  for (const [name, component] of componentsOf(pipeline)) {
    const modules = new Set(adapters.flatMap(([adapter]) => [...(adapter.get(name)?.keys() ?? [])]));
    if (modules.size === 0 && dtype === null) continue;
    const merged = (module: string) => (): Float32Array => {
      const { data } = readOwn(component, `${module}.weight`);
      for (const [adapter, weight] of adapters) {
        const branch = adapter.get(name)?.get(module);
        if (!branch) continue;
        const delta = productOf(branch);
        for (let i = 0; i < data.length; i++) data[i]! += weight * delta[i]!;
      }
      return data;
    };
    const tensors = new Map([...modules].map((module) => [`${module}.weight`, merged(module)] as const));
    changed.set(name, { tensors, dtype });
  }
  writePipeline(pipeline, out, changed);
}
