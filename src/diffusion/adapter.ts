/** LoRA for a diffusion pipeline, whatever file it came from: branches of its components' layers. */

import { type GraphBranch, withBranches } from "../adapters/branches.ts";
import { input, type Value } from "../graph/graph.ts";
import type { Weights } from "../models/weights.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";

export interface ImageBranch {
  /** [r, in], or [r, in, kernel, kernel] of a convolution. */
  readonly A: FloatTensor;
  /** [out, r], or [out, r, 1, 1]. */
  readonly B: FloatTensor;
  /** α / r */
  readonly scale: number;
}

/** Branches by component ("unet", "text_encoder", "text_encoder_2"), then by module, named as in the component's trace. */
export type ImageAdapter = ReadonlyMap<string, ReadonlyMap<string, ImageBranch>>;

/** An adapter's branches of one component, with the name that keeps its inputs apart. */
export interface MountedBranches {
  readonly prefix: string;
  readonly branches: ReadonlyMap<string, ImageBranch>;
}

/** Branches with a weight each in their B, so that one graph serves all weights; those of weight 0 are left out. */
export function weighted(
  branches: ReadonlyMap<string, ImageBranch>,
  weight: (module: string) => number,
): ReadonlyMap<string, ImageBranch> {
  const kept = new Map<string, ImageBranch>();
  for (const [module, { A, B, scale }] of branches) {
    const factor = scale * weight(module);
    if (factor !== 0) kept.set(module, { A, B: { ...B, data: B.data.map((value) => factor * value) }, scale: 1 });
  }
  return kept;
}

export interface Mounted {
  readonly weights: Weights;
  /** The branches' tensors, by the names of the graph's inputs: PREFIX + MODULE.lora_A.weight and .lora_B.weight. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** The graph's inputs for them. */
  readonly parameters: ReadonlyMap<string, Value>;
}

/** The weights with adapters on them, whose tensors are inputs of the graph. */
export function mountBranches(base: Weights, adapters: readonly MountedBranches[]): Mounted {
  const tensors = new Map<string, Tensor>();
  const parameters = new Map<string, Value>();
  const byModule = new Map<string, GraphBranch[]>();
  const add = (name: string, tensor: FloatTensor): Value => {
    const value = input(name, "f32", tensor.shape, true);
    tensors.set(name, tensor);
    parameters.set(name, value);
    return value;
  };
  for (const { prefix, branches } of adapters) {
    for (const [module, { A, B, scale }] of branches) {
      const branch = {
        A: add(`${prefix}${module}.lora_A.weight`, A),
        B: add(`${prefix}${module}.lora_B.weight`, B),
        scale,
      };
      byModule.set(module, [...(byModule.get(module) ?? []), branch]);
    }
  }
  return { weights: withBranches(base, byModule), tensors, parameters };
}
