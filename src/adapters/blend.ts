/** Tensors that adapters take whole, blended by the adapters' weights: W + Σ w·(trained - W). */

import { stored, type Value } from "../graph/graph.ts";
import { add, scale } from "../graph/ops/arithmetic.ts";
import { cast } from "../graph/ops/movement.ts";
import type { TensorSource } from "../models/weights.ts";
import type { BoundMethod } from "./method.ts";

export interface BlendedMethod {
  readonly method: BoundMethod;
  readonly weight: number;
  value(key: string): Value;
}

interface Taken {
  readonly value: Value;
  readonly weight: number;
  /** The checkpoint's tensor that it was trained from. */
  readonly origin: string;
}

/** What stands in place of the checkpoint's tensors; one adapter at weight 1 gives its own tensor. */
export function blendReplaced(methods: readonly BlendedMethod[], source: TensorSource): Map<string, Value> {
  const taken = new Map<string, Taken[]>();
  for (const { method, weight, value } of methods) {
    for (const [name, tensor] of method.replaced(value)) {
      const origin = method.parameters.get(`base_model.model.${name}`)?.checkpoint ?? name;
      taken.set(name, [...(taken.get(name) ?? []), { value: tensor, weight, origin }]);
    }
  }
  return new Map([...taken].map(([name, parts]) => [name, blend(parts, source)]));
}

function blend(parts: readonly Taken[], source: TensorSource): Value {
  const [{ value, weight, origin }] = parts as [Taken];
  if (parts.length === 1 && weight === 1) return value;
  const sum = parts.map((part) => scale(part.value, part.weight)).reduce(add);
  const rest = 1 - parts.reduce((total, part) => total + part.weight, 0);
  if (rest === 0 || !source.has(origin)) return sum;
  return add(sum, scale(cast(stored(origin, source.find(origin, value.shape)), "f32"), rest));
}
