/**
 * What a parameter-efficient method is, once bound to a model: named tensors, and a decoration of the model's weights.
 * Methods combine because decorations compose.
 */

import type { Value } from "../graph/graph.ts";
import type { Weights } from "../models/weights.ts";
import type { Random } from "../tensor/random.ts";

export interface Parameter {
  /** Name in the adapter's file, as PEFT spells it. */
  readonly key: string;
  readonly shape: readonly number[];
  /** Values before training; null asks for the checkpoint's tensor of the name `checkpoint`. */
  readonly init: ((random: Random) => Float32Array) | null;
  /** The checkpoint tensor that this one replaces, or starts from. */
  readonly checkpoint?: string;
  /** Name of the gradient where it is not the key's own (modules_to_save, prompt embeddings), as PyTorch has it. */
  readonly torchName?: string;
}

export interface DecorateOptions {
  /** Factor on the adapter's whole effect: 1 in training, the weight of `@0.7` at run time. */
  readonly weight: number;
  /** Whether dropout is drawn (training) or off. */
  readonly dropout: boolean;
}

export interface BoundMethod {
  /** The tensors to train and to save, by key. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  /** Modules that carry a branch of the method, in the order of the forward pass. */
  readonly targets: readonly string[];
  /** Tensors taken whole in place of the checkpoint's, by the checkpoint's names. */
  replaced(value: (key: string) => Value): ReadonlyMap<string, Value>;
  /** Whether a tensor of a file that is no parameter may be passed over (copies of the base that PEFT adds). */
  passes?(key: string): boolean;
  /** The weights with the method's branches; `value` gives a parameter's value by key. */
  decorate(base: Weights, value: (key: string) => Value, options: DecorateOptions): Weights;
}
