/**
 * How adapters meet the base, named as OpenVINO GenAI names it. Every mode gives the same scores.
 *
 * - dynamic: adapters are inputs; each request has its own set. auto is this.
 * - static-rank: the same in matrices of one fixed rank, so that no shape follows the adapters.
 * - static: one set for every request, part of the graph as constants.
 * - fuse: one set for every request, added to copies of the base's weights: the base's own graph, at its speed.
 */

import { UsageError } from "../errors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { type AdapterSet, adapterSets, fixedSet, type WeightedAdapter } from "./adapter-set.ts";
import { readStored } from "./held.ts";

export const ADAPTER_MODES = ["auto", "dynamic", "static-rank", "static", "fuse"] as const;
export type AdapterMode = (typeof ADAPTER_MODES)[number];

export interface ModeOptions {
  readonly mode: AdapterMode;
  /** The set of static and fuse. */
  readonly fixed: readonly WeightedAdapter[];
}

export interface SettledMode {
  /** Tensors that the base has in place of its own. */
  readonly fused: ReadonlyMap<string, FloatTensor>;
  setOf(adapters: readonly WeightedAdapter[]): AdapterSet;
}

/** Throws UsageError for adapters that the mode cannot take. */
export function settleMode(model: Model, trace: ModelTrace, { mode, fixed }: ModeOptions): SettledMode {
  if (mode !== "static" && mode !== "fuse") {
    if (fixed.length > 0) throw new UsageError(`The mode ${mode} takes adapters with each request, not at load.`);
    return { fused: new Map(), setOf: adapterSets(model) };
  }
  const used = fixed.filter(([, weight]) => weight !== 0);
  const none = adapterSets(model)([]);
  const set = mode === "fuse" || used.length === 0 ? none : fixedSet(used);
  return {
    fused: mode === "fuse" ? mergedWeights(model, trace, used) : new Map(),
    setOf: (adapters) => {
      if (adapters.length === 0) return set;
      throw new UsageError(`The mode ${mode} has its adapters from load on. Load with dynamic for others.`);
    },
  };
}

/** Every tensor that the adapters change, with all of them in it. */
function mergedWeights(
  model: Model,
  trace: ModelTrace,
  adapters: readonly WeightedAdapter[],
): ReadonlyMap<string, FloatTensor> {
  for (const [{ config, method }] of adapters) {
    if (method.mergeable && method.unties.length === 0) continue;
    const why = method.mergeable ? "it changes one of two layers that share a matrix" : "it is no weights";
    throw new UsageError(`A ${config.peft_type} adapter cannot be fused: ${why}. Use the mode dynamic.`);
  }
  const merged = new Map<string, FloatTensor>();
  for (const [name, shape] of trace.tensors) {
    const frozen = readStored(model, name, shape);
    let tensor = frozen;
    for (const [adapter, weight] of adapters) {
      const values = (key: string): FloatTensor => adapter.tensors.get(key)!;
      tensor = adapter.method.merge({ name, tensor, frozen, values, weight }) ?? tensor;
    }
    if (tensor !== frozen) merged.set(name, floatTensor(shape, tensor));
  }
  return merged;
}
