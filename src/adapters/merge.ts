/** Merging: a checkpoint's tensors with adapters worked into them, made one at a time as they are written. */

import { LowrankError, ModelError, UsageError } from "../errors.ts";
import { openCheckpoint } from "../files/checkpoint.ts";
import { readTensor, type TensorEntry, type WritableTensor } from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { fromFloat32, toFloat32 } from "../tensor/convert.ts";
import type { TypedArray } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { Adapter } from "./adapter.ts";

export interface WeightedAdapter {
  readonly name: string;
  readonly adapter: Adapter;
  /** Factor on the adapter's whole effect. */
  readonly weight: number;
}

export type FloatType = "f32" | "f16" | "bf16";

export interface MergedTensors {
  readonly tensors: readonly (readonly [string, WritableTensor])[];
  readonly dtype: FloatType;
  /** Heads that shared a matrix and now have their own. */
  readonly untied: readonly string[];
}

/**
 * The tensors of `model` with the adapters' weighted sum merged in, under the checkpoint's names. `dtype` null keeps the
 * checkpoint's own. Throws UsageError for adapters that are no weights (prompts, prefixes).
 */
export function mergedTensors(
  model: Model,
  trace: ModelTrace,
  adapters: readonly WeightedAdapter[],
  dtype: FloatType | null,
): MergedTensors {
  for (const { name, adapter } of adapters) {
    if (!adapter.method.mergeable) {
      throw new UsageError(
        `${name} is a ${adapter.config.peft_type} adapter: it adds tokens, not weights, and cannot be merged. Apply it with --adapter.`,
      );
    }
  }
  const stored = openCheckpoint(model.folder).tensors;
  const type = dtype ?? mainType(stored.values());
  const untied = [...new Set(adapters.flatMap(({ adapter }) => adapter.method.unties))];
  const sources = sourcesOf(model, trace, untied);
  const added = [...sources].some(([, { entry }]) => entry === null);
  const names = namesByPlace(stored);
  const tensors = new Map<string, WritableTensor>();
  const taken = new Set<string>();
  for (const [canonical, { shape, entry, from }] of sources) {
    const own = entry === null ? undefined : names.get(placeOf(entry));
    if (own !== undefined) taken.add(own);
    // A checkpoint whose names lack the base model's prefix would hide an added head from transformers.
    const name = added || own === undefined ? canonical : own;
    const frozen = (): Float32Array =>
      from === null ? new Float32Array(sizeOf(shape)) : model.read(from, shape).slice();
    tensors.set(name, { dtype: type, shape, data: () => rounded(mergeAll(canonical, frozen(), adapters), type, name) });
  }
  const shared = new Set(tiedHeads(trace).map((head) => `${head}.weight`));
  for (const [name, entry] of stored) {
    if (taken.has(name) || tensors.has(name) || shared.has(name)) continue;
    tensors.set(name, copied(entry, type));
  }
  return { tensors: [...tensors], dtype: type, untied };
}

interface Source {
  readonly shape: readonly number[];
  /** Where the checkpoint holds it; null for a tensor that the merged model has beside the checkpoint's. */
  readonly entry: { readonly path: string; readonly offset: number } | null;
  /** The name of the tensor that it starts from; null for a new one. */
  readonly from: string | null;
}

/** Every tensor of the merged model by its own name. */
function sourcesOf(model: Model, trace: ModelTrace, untied: readonly string[]): Map<string, Source> {
  const sources = new Map<string, Source>();
  for (const [name, shape] of trace.tensors) {
    const held = model.source.has(name);
    sources.set(name, { shape, entry: held ? model.source.find(name, shape) : null, from: held ? name : null });
  }
  for (const head of untied) {
    const module = trace.modules.get(head);
    if (module?.kind !== "linear" || !module.spec.weight) {
      throw new ModelError(`internal: ${head} has no shared matrix to be given a copy of`);
    }
    const shape = trace.tensors.get(module.spec.weight)!;
    sources.set(`${head}.weight`, { shape, entry: null, from: module.spec.weight });
  }
  return sources;
}

function tiedHeads(trace: ModelTrace): string[] {
  return [...trace.modules.values()].flatMap((module) =>
    module.kind === "linear" && module.spec.weight ? [module.name] : [],
  );
}

function mergeAll(name: string, frozen: Float32Array, adapters: readonly WeightedAdapter[]): Float32Array {
  let tensor = frozen;
  for (const { adapter, weight } of adapters) {
    const values: (key: string) => NonNullable<ReturnType<Adapter["tensors"]["get"]>> = (key) =>
      adapter.tensors.get(key)!;
    tensor = adapter.method.merge({ name, tensor, frozen, values, weight }) ?? tensor;
  }
  return tensor;
}

/** Values of the merged tensor `name` as written; throws LowrankError where float16 cannot hold them. */
export function rounded(values: Float32Array, type: FloatType, name: string): TypedArray {
  if (type === "f16" && values.some((value) => Math.abs(value) >= 65520 && Number.isFinite(value))) {
    throw new LowrankError(`${name}: the merged tensor has values beyond float16's 65504. Use --dtype bf16 or f32.`);
  }
  return fromFloat32(values, type);
}

/** A tensor that the architecture does not read (masks, tables): floats in the new type, others as they are. */
function copied(entry: TensorEntry, type: FloatType): WritableTensor {
  const float = entry.dtype === "f32" || entry.dtype === "f16" || entry.dtype === "bf16";
  const data = (): TypedArray => {
    const tensor = readTensor(entry);
    return float && entry.dtype !== type ? fromFloat32(toFloat32(tensor), type) : tensor.data;
  };
  return { dtype: float ? type : (entry.dtype ?? type), shape: entry.shape, data };
}

/** The type of most of the checkpoint's bytes. */
function mainType(entries: Iterable<TensorEntry>): FloatType {
  const bytes: Record<FloatType, number> = { f32: 0, f16: 0, bf16: 0 };
  for (const { dtype, byteLength } of entries) {
    if (dtype === "f32" || dtype === "f16" || dtype === "bf16") bytes[dtype] += byteLength;
  }
  const types: readonly FloatType[] = ["f32", "bf16", "f16"];
  return types.toSorted((a, b) => bytes[b] - bytes[a])[0]!;
}

function namesByPlace(stored: ReadonlyMap<string, TensorEntry>): Map<string, string> {
  return new Map([...stored].map(([name, entry]) => [placeOf(entry), name]));
}

/** Empty tensors share an offset with their neighbour, but no model has any. */
function placeOf({ path, offset }: { readonly path: string; readonly offset: number }): string {
  return `${offset} ${path}`;
}
