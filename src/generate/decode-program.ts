/**
 * The decoding graph: new tokens against the keys and values of earlier ones. Prompts and single steps are the same
 * graph at other sizes.
 * Letters: B streams, T new tokens each, S places of the cache each, M hidden rows that the head reads, R ranks of
 * stacked adapters, V vocabulary, KV key and value heads, D their width.
 */

import { ModelError } from "../errors.ts";
import { constant, input, type Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import type { Model } from "../models/open.ts";
import { createStream } from "../models/stream.ts";
import { type MountedAdapter, mount, type Program, parameterInputs } from "../program/program.ts";
import type { Monomials, Sizes } from "../runtime/sized.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import { type HeldWeights, heldWeights } from "./held.ts";
import type { BranchSizes } from "./rank-stack.ts";
import { stackedWeights } from "./stacked-weights.ts";

export interface DecodeShape {
  readonly B: number;
  readonly T: number;
  /** 0 for a graph without a cache: the beginning of sequences. */
  readonly S: number;
  readonly M: number;
  /** 0 for a graph without stacked adapters. */
  readonly R: number;
}

export interface DecodeOptions {
  readonly model: Model;
  /** Adapters that have the whole graph to themselves. */
  readonly mounted: readonly MountedAdapter[];
  /** Modules with stacked adapters beside them. */
  readonly stacked: BranchSizes;
  /** Weights that are fed instead of mapped. */
  readonly held: HeldWeights;
  /** Tensors fed in place of the checkpoint's, by its names. */
  readonly fused: ReadonlyMap<string, FloatTensor>;
  /** Tensors of the mounted adapters that are part of the graph, by the names they would be fed under; null: fed. */
  readonly constants: ReadonlyMap<string, Tensor> | null;
  /** Whether operators stand in that only the CPU has. */
  readonly decoding: boolean;
}

/**
 * Outputs `logits` [M, V] of the hidden rows that the input `rows` names, and `keys.L` and `values.L` [B, KV, T, D] of
 * the new tokens for every layer L. With S > 0, `past.keys.L` and `past.values.L` [B, KV, S, D] are inputs.
 */
export function decodeProgram(
  { model, mounted, stacked, held, fused, constants, decoding }: DecodeOptions,
  shape: DecodeShape,
): Program {
  const head = model.architecture.heads["causal-lm"];
  if (!head) throw new ModelError(`${model.folder}: a ${model.rawConfig["model_type"]} model cannot generate text`);
  const { B, T, S, M, R } = shape;
  const stream = createStream(B, T, { S, decoding });
  const parameter = constants ? parameterConstants(constants) : parameterInputs();
  const plain = mount(model, stream, mounted, parameter, false, (replaced) => {
    const own = new Map([...fused].map(([name, { shape: size }]) => [name, input(fusedInput(name), "f32", size)]));
    const all = new Map([...own, ...replaced]);
    return heldWeights(model.weights(stream, all), held, all);
  });
  const stack = R === 0 ? null : stackedWeights(plain, stacked, R);
  const hidden = model.architecture.hidden(stack?.layers ?? plain, model.config, stream); // [N, C]
  const rows = input("rows", "i32", [M]); // the head's matrix is the largest: it reads only rows that count
  const logits = head.logits(stack?.head(rows) ?? plain, model.config as never, gatherRows(hidden, rows)); // [M, V]
  return { stream, outputs: new Map<string, Value>([["logits", logits], ...stream.produced]) };
}

/** Name of the input for a tensor in place of the checkpoint's. */
export const fusedInput = (name: string): string => `fused:${name}`;

function parameterConstants(tensors: ReadonlyMap<string, Tensor>): ReturnType<typeof parameterInputs> {
  const made = new Map<string, Value>();
  return ({ prefix }, key) => {
    const value = made.get(prefix + key) ?? constant(tensors.get(prefix + key)!);
    made.set(prefix + key, value);
    return value;
  };
}

/** Sizes to build the graph at; see `runtime/sized.ts`. Primes, so that no two extents are alike by chance. */
const PROBE = { B: [2, 3], T: [37, 41], S: [67, 71], M: [11, 13], R: [5, 7] } as const;

export function decodeSizes(names: readonly (keyof DecodeShape)[]): {
  readonly probes: readonly Sizes[];
  readonly monomials: Monomials;
} {
  const at = (raised: readonly string[]): Sizes =>
    Object.fromEntries(names.map((name) => [name, PROBE[name][raised.includes(name) ? 1 : 0]]));
  const pairs: (keyof DecodeShape)[][] = names.includes("T") ? [["B", "T"]] : [];
  return {
    monomials: [[], ...names.map((name) => [name]), ...pairs],
    probes: [at([]), ...names.map((name) => at([name])), ...pairs.map(at), at(names)],
  };
}
