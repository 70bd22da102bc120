/** A model with an adapter merged into it in memory, as a tensor source over temporary files. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Adapter, readFloat } from "../../src/adapters/adapter.ts";
import { openSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import type { Model } from "../../src/models/open.ts";
import type { ModelTrace } from "../../src/models/trace.ts";
import { checkpointWeights, matrixOf } from "../../src/models/weights.ts";
import { type FloatTensor, floatTensor } from "../../src/tensor/tensor.ts";

/** The merged tensors by the checkpoint's names; tied heads that need one get a matrix of their own. */
export function mergedTensors(
  { method, tensors }: Adapter,
  model: Model,
  trace: ModelTrace,
  weight = 1,
): Map<string, FloatTensor> {
  const merged = new Map<string, FloatTensor>();
  const merge = (name: string, shape: readonly number[], from: string): void => {
    const frozen = readFloat(model.source.find(from, shape), from);
    const values = (key: string): FloatTensor => tensors.get(key)!;
    merged.set(name, floatTensor(shape, method.merge({ name, tensor: frozen, frozen, values, weight }) ?? frozen));
  };
  for (const [name, shape] of trace.tensors) merge(name, shape, name);
  for (const head of method.unties) {
    const module = trace.modules.get(head)!;
    if (module.kind !== "linear") continue;
    const { name, shape } = matrixOf(head, module.spec);
    merge(`${head}.weight`, shape, name);
  }
  return merged;
}

/** Runs `use` on the merged model. */
export async function withMerged<T>(
  adapter: Adapter,
  model: Model,
  trace: ModelTrace,
  use: (merged: Model) => Promise<T>,
  weight = 1,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-merged-"));
  try {
    const path = join(folder, "model.safetensors");
    writeSafetensors(path, mergedTensors(adapter, model, trace, weight));
    const { tensors } = openSafetensors(path);
    const untied = adapter.method.unties.length > 0;
    const source: Model["source"] = {
      has: (name) => tensors.has(name),
      find: (name) => {
        const entry = tensors.get(name)!;
        return { ...entry, dtype: "f32" };
      },
    };
    const config = untied ? ({ ...model.config, tie_word_embeddings: false } as Model["config"]) : model.config;
    return await use({
      ...model,
      config,
      source,
      weights: (stream, replaced) => checkpointWeights(source, stream, replaced),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
