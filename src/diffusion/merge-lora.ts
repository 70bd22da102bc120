/** A pipeline with adapters merged into its weights: a diffusers folder of its own. */

import { cpSync, existsSync } from "node:fs";
import { basename, join } from "node:path";
import { LowrankError } from "../errors.ts";
import { openSafetensors, readTensor, type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import type { ImageAdapter } from "./adapter.ts";
import { storedReader } from "./component.ts";
import { productOf } from "./lora-updates.ts";
import type { Pipeline } from "./pipeline.ts";

/** Writes W + Σ weight · ΔW into `out`, in float32; what no adapter touches is copied as it is. */
export function mergeImageLora(
  pipeline: Pipeline,
  adapters: readonly (readonly [ImageAdapter, number])[],
  out: string,
): void {
  if (existsSync(join(out, "model_index.json"))) {
    throw new LowrankError(`${out} holds a pipeline already. Choose another --out.`);
  }
  const read = storedReader();
  const touched = new Set(adapters.flatMap(([adapter]) => [...adapter.keys()]));
  const merged = new Map<string, { readonly component: string; readonly tensors: [string, WritableTensor][] }>();
  for (const component of touched) {
    const { source, trace } =
      component === "unet" ? pipeline.unet : pipeline.textEncoders.find((each) => each.component === component)!;
    const deltas = new Map<string, Float32Array>();
    for (const [adapter, weight] of adapters) {
      for (const [module, branch] of adapter.get(component) ?? []) {
        const delta = productOf(branch).map((value) => value * weight);
        const held = deltas.get(`${module}.weight`);
        deltas.set(`${module}.weight`, held ? held.map((value, i) => value + delta[i]!) : delta);
      }
    }
    for (const [name, shape] of trace.tensors) {
      const stored = source.find(name, shape);
      const file = merged.get(stored.path) ?? { component, tensors: [] };
      merged.set(stored.path, file);
      const delta = deltas.get(name);
      if (!delta) continue;
      const { key, values } = read(stored);
      const data = values.map((value, i) => value + delta[i]!);
      file.tensors.push([key, { dtype: "f32", shape: stored.shape, data }]);
    }
  }
  cpSync(pipeline.folder, out, { recursive: true, dereference: true });
  for (const [path, { component, tensors }] of merged) {
    const changed = new Map(tensors);
    const all = [...openSafetensors(path).tensors].map(([key, entry]): [string, WritableTensor] => {
      const own = changed.get(key);
      if (own) return [key, own];
      return [key, { dtype: "f32", shape: entry.shape, data: toFloat32(readTensor(entry)) }];
    });
    writeSafetensors(join(out, component, basename(path)), all, { format: "pt" });
  }
}
