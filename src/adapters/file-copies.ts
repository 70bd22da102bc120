/**
 * Tensors in an adapter's file that are none of its own: copies of the base that PEFT puts beside targeted embeddings,
 * resized vocabularies and trained biases. They pass when they are what the model holds.
 */

import { readTensor, type TensorEntry } from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sameShape } from "../tensor/shape.ts";
import type { BoundMethod } from "./method.ts";

/** Largest difference, relative to the largest value, that storing a copy in 16 bits explains. */
const ROUNDING = 1e-2;

/** What is wrong with a file's tensor that is no parameter of the method; null when it may be passed over. */
export function extraTensorProblem(
  key: string,
  entry: TensorEntry,
  { model, trace, method }: { readonly model: Model; readonly trace: ModelTrace; readonly method: BoundMethod },
): string | null {
  if (method.passes?.(key) || method.parameters.has(key.replace(".modules_to_save.", "."))) return null;
  const name = key.replace(/^base_model\.model\./, "").replace(/\.(base_layer|original_module)\./, ".");
  const head = trace.modules.get(name.replace(/\.weight$/, ""));
  const source = head?.kind === "linear" && head.spec.weight ? head.spec.weight : name;
  const shape = trace.tensors.get(source);
  if (!shape) return "the model has no place for it";
  if (!sameShape(shape, entry.shape)) {
    return `a copy of the base's tensor with shape [${entry.shape}], the model has [${shape}]`;
  }
  if (!model.source.has(source)) return "a copy of a tensor that the model lacks";
  const own = toFloat32(readTensor({ ...model.source.find(source, shape), name: source, storedType: "" }));
  const copy = toFloat32(readTensor(entry));
  let largest = 0;
  let worst = 0;
  for (let i = 0; i < own.length; i++) {
    largest = Math.max(largest, Math.abs(own[i]!));
    worst = Math.max(worst, Math.abs(own[i]! - copy[i]!));
  }
  return worst <= ROUNDING * largest ? null : "a copy of the base's tensor whose values are not the model's";
}
