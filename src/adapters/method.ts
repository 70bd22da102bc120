/**
 * What a parameter-efficient method is, once bound to a model: named tensors, and a decoration of the model's weights.
 * Methods combine because decorations compose.
 */

import type { Value } from "../graph/graph.ts";
import type { Weights } from "../models/weights.ts";
import type { Random } from "../tensor/random.ts";
import type { FloatTensor } from "../tensor/tensor.ts";

/** What initial values may rest on. */
export interface InitContext {
  /** The parameter's own stream of the seed. */
  readonly random: Random;
  /** A stream that several parameters share by naming the same text. */
  shared(text: string): Random;
  /** A tensor of the checkpoint. */
  base(name: string, shape: readonly number[]): Float32Array;
  /** The same as the base is computed with: other numbers where it is held in fewer bits. */
  computed(name: string, shape: readonly number[]): Float32Array;
  /** A by module as EVA found it in the data; undefined where no data was looked at. */
  readonly directions: ReadonlyMap<string, Float32Array> | undefined;
  /** The initial values of another parameter of the method. */
  value(key: string): FloatTensor;
}

export interface Parameter {
  /** Name in the adapter's file, as PEFT spells it. */
  readonly key: string;
  readonly shape: readonly number[];
  /** Values before training; null asks for the checkpoint's tensor of the name `checkpoint`. */
  readonly init: ((context: InitContext) => Float32Array) | null;
  /** The checkpoint tensor that this one replaces, or starts from. */
  readonly checkpoint?: string;
  /** Values where the checkpoint lacks that tensor: a head that is trained from scratch. */
  readonly fresh?: (random: Random) => Float32Array;
  /** Name of the gradient where it is not the key's own (modules_to_save, prompt embeddings), as PyTorch has it. */
  readonly torchName?: string;
}

export interface DecorateOptions {
  /** Factor on the adapter's whole effect: 1 in training, the weight of `@0.7` at run time. */
  readonly weight: number;
  /** Whether dropout is drawn (training) or off. */
  readonly dropout: boolean;
  /** The weights without any adapter, where others may lie below this one; `base` when absent. */
  readonly frozen?: Weights;
}

/** Tokens that a method puts before each row: `prompt` stand in the stream, `prefix` are only keys and values. */
export interface VirtualCounts {
  readonly prompt: number;
  readonly prefix: number;
}

/** One tensor of the checkpoint on its way into a merged model. */
export interface MergeStep {
  readonly name: string;
  /** What has been merged so far; not changed. */
  readonly tensor: Float32Array;
  /** The checkpoint's own values: `tensor` unless other adapters were merged before. */
  readonly frozen: Float32Array;
  /** The method's own tensors. */
  values(key: string): FloatTensor;
  /** Factor on the adapter's whole effect. */
  readonly weight: number;
}

/** y + scaling · (x·Aᵀ)·Bᵀ beside a linear layer. */
export interface LowRankBranch {
  readonly module: string;
  /** [r, in] */
  readonly A: FloatTensor;
  /** [out, r] */
  readonly B: FloatTensor;
  readonly scaling: number;
}

export interface BoundMethod {
  /** The methods that this one was composed of. */
  readonly parts?: readonly BoundMethod[];
  /** Whether it only puts tensors in the place of others: such parts lie below all decorations. */
  readonly whole?: boolean;
  /** The tensors to train and to save, by key. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  /** Modules that carry a branch of the method, in the order of the forward pass. */
  readonly targets: readonly string[];
  /** Tensors taken whole in place of the checkpoint's, by the checkpoint's names. */
  replaced(value: (key: string) => Value): ReadonlyMap<string, Value>;
  /** Whether a tensor of a file that is no parameter may be passed over (copies of the base that PEFT adds). */
  passes?(key: string): boolean;
  /** Tokens it puts before each row; none when absent. */
  readonly virtual?: VirtualCounts;
  /** Whether `merge` tells the whole of the method: false for prompts and prefixes, which are no weights. */
  readonly mergeable: boolean;
  /** Heads that read another module's matrix (tied embeddings) and need a copy of their own once merged, by module. */
  readonly unties: readonly string[];
  /** For methods that start from a part of the base: the method that has these initial values taken off it. */
  from?(initial: ReadonlyMap<string, FloatTensor>): BoundMethod;
  /** The tensors as files hold them, where they are not the parameters themselves. */
  stored?(values: (key: string) => FloatTensor): ReadonlyMap<string, FloatTensor>;
  /** The tensor with the method merged in, accumulated in float64; null when the method leaves it as it is. */
  merge(step: MergeStep): Float32Array | null;
  /** The whole method as branches beside linear layers; null, or absent, where it is more than that. */
  lowRank?(values: (key: string) => FloatTensor): readonly LowRankBranch[] | null;
  /** The weights with the method's branches; `value` gives a parameter's value by key. */
  decorate(base: Weights, value: (key: string) => Value, options: DecorateOptions): Weights;
}
