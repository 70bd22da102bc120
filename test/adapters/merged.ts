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

type Merge = (name: string, frozen: Float32Array) => Float32Array;

/** The merged tensors by the checkpoint's names; `untied` heads get a matrix of their own. */
function mergedTensors(
  merge: Merge,
  untied: readonly string[],
  model: Model,
  trace: ModelTrace,
): Map<string, FloatTensor> {
  const merged = new Map<string, FloatTensor>();
  const take = (name: string, shape: readonly number[], from: string): void => {
    merged.set(name, floatTensor(shape, merge(name, readFloat(model.source.find(from, shape), from))));
  };
  for (const [name, shape] of trace.tensors) take(name, shape, name);
  for (const head of untied) {
    const module = trace.modules.get(head)!;
    if (module.kind !== "linear") continue;
    const { name, shape } = matrixOf(head, module.spec);
    take(`${head}.weight`, shape, name);
  }
  return merged;
}

/** Runs `use` on the model with one adapter merged in. */
export async function withMerged<T>(
  { method, tensors }: Adapter,
  model: Model,
  trace: ModelTrace,
  use: (merged: Model) => Promise<T>,
  weight = 1,
): Promise<T> {
  const values = (key: string): FloatTensor => tensors.get(key)!;
  const merge: Merge = (name, frozen) => method.merge({ name, tensor: frozen, frozen, values, weight }) ?? frozen;
  return withMergedBy(merge, method.unties, model, trace, use);
}

/** Runs `use` on the model whose tensors `merge` has changed. */
export async function withMergedBy<T>(
  merge: Merge,
  unties: readonly string[],
  model: Model,
  trace: ModelTrace,
  use: (merged: Model) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-merged-"));
  try {
    const path = join(folder, "model.safetensors");
    writeSafetensors(path, mergedTensors(merge, unties, model, trace));
    const { tensors } = openSafetensors(path);
    const untied = unties.length > 0;
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
