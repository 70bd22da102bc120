/**
 * The seam between models and everything done to their weights. A model asks for its tensors and layers by the names
 * of its checkpoint; LoRA, IA3, quantised bases, blends of adapters and the rest are decorators of `Weights`.
 */

import { stored, type Value } from "../graph/graph.ts";
import { conv2d, type Pads } from "../graph/ops/conv.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import { cast } from "../graph/ops/movement.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import type { Stream } from "./stream.ts";

export interface LinearSpec {
  /** Width of the input. */
  readonly in: number;
  /** Width of the output. */
  readonly out: number;
  readonly bias: boolean;
  /** How the checkpoint stores the matrix: "out,in" (PyTorch's Linear) unless it says "in,out" (GPT-2's Conv1D). */
  readonly layout?: "out,in" | "in,out";
  /** The checkpoint's name of the matrix, where it is another module's (a head tied to the embedding). */
  readonly weight?: string;
}

export interface ConvSpec {
  /** Channels of the input. */
  readonly in: number;
  /** Channels of the output. */
  readonly out: number;
  /** Rows and columns of the kernel. */
  readonly kernel: number;
  /** 1 unless given. */
  readonly stride?: number;
  /** None unless given. */
  readonly pads?: Pads;
}

export interface EmbeddingSpec {
  readonly rows: number;
  readonly width: number;
}

/** Keys and values of virtual tokens that every row of a layer sees, each [KV, v, D]. */
export interface PrefixKeyValues {
  readonly keys: Value;
  readonly values: Value;
}

export interface Weights {
  /** The batch that the graph is built for. */
  readonly stream: Stream;
  /** A tensor of the checkpoint as float32. */
  get(name: string, shape: readonly number[]): Value;
  /** x [N, in] → [N, out]: x·Wᵀ + bias of the module's `weight` and `bias`. */
  linear(module: string, x: Value, spec: LinearSpec): Value;
  /** Images x [B, in, H, W] → [B, out, P, Q]: convolution by the module's `weight` [out, in, kernel, kernel] and `bias`. */
  conv(module: string, x: Value, spec: ConvSpec): Value;
  /** Rows of the module's `weight` [rows, width] by ids [N]: [N, width]. */
  embedding(module: string, ids: Value, spec: EmbeddingSpec): Value;
  /** What training drops of x, with the model's own `rate`, at a place of that name; x itself unless it is asked to. */
  dropout(x: Value, site: string, rate: number): Value;
  /** The token embeddings [N, C] before the first layer, as the model hands them on. */
  embedded(x: Value): Value;
  /** Virtual keys and values of layer `layer` with KV heads of width D; null when there are none. */
  prefix(layer: number, KV: number, D: number): PrefixKeyValues | null;
}

/** Where a model's tensors come from. */
export interface TensorSource {
  /** The stored tensor of that name; throws ModelError when there is none or its shape is another. */
  find(name: string, shape: readonly number[]): StoredTensor;
  /** Whether there is one of that name. */
  has(name: string): boolean;
}

/**
 * Weights straight from a checkpoint. `replaced` holds the tensors that are trained or supplied whole (full
 * fine-tuning, BitFit, modules_to_save): they are taken instead of the checkpoint's.
 */
export function checkpointWeights(
  source: TensorSource,
  stream: Stream,
  replaced: ReadonlyMap<string, Value> = new Map(),
): Weights {
  const get: Weights["get"] = (name, shape) =>
    replaced.get(name) ?? cast(stored(name, source.find(name, shape)), "f32");
  return {
    stream,
    get,
    linear: (module, x, spec) => plainLinear(get, module, x, spec),
    conv: (module, x, spec) =>
      conv2d(x, get(`${module}.weight`, kernelShape(spec)), get(`${module}.bias`, [spec.out]), spec),
    embedding: (module, ids, { rows, width }) => {
      const name = `${module}.weight`;
      const held = replaced.get(name);
      if (held) return gatherRows(held, ids);
      return cast(gatherRows(stored(name, source.find(name, [rows, width])), ids), "f32");
    },
    dropout: (x) => x,
    embedded: (x) => x,
    prefix: () => null,
  };
}

/** The checkpoint's name and stored shape of a linear module's matrix. */
export function matrixOf(module: string, spec: LinearSpec): { name: string; shape: readonly [number, number] } {
  const name = spec.weight ?? `${module}.weight`;
  return { name, shape: spec.layout === "in,out" ? [spec.in, spec.out] : [spec.out, spec.in] };
}

/** Whether a convolution is a linear layer at each pixel. */
export function isPointwise({ kernel, stride = 1, pads = [0, 0, 0, 0] }: ConvSpec): boolean {
  return kernel === 1 && stride === 1 && pads.every((each) => each === 0);
}

/** The stored shape of a convolution's kernel. */
export function kernelShape({ in: C, out, kernel }: ConvSpec): readonly [number, number, number, number] {
  return [out, C, kernel, kernel];
}

function plainLinear(get: Weights["get"], module: string, x: Value, spec: LinearSpec): Value {
  const { name, shape } = matrixOf(module, spec);
  const matrix = get(name, shape);
  const transB = spec.layout !== "in,out";
  return spec.bias ? gemm(x, matrix, get(`${module}.bias`, [spec.out]), { transB }) : matMul(x, matrix, { transB });
}
