/**
 * The decoding graph: new tokens against the keys and values of earlier ones. Prompts and single steps are the same
 * graph in other shapes.
 * Letters: B sequences, T new tokens each, S places of the cache each, M hidden rows that the head reads,
 * V vocabulary, KV key and value heads, D their width.
 */

import { ModelError } from "../errors.ts";
import { input, type Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import type { Model } from "../models/open.ts";
import { createStream } from "../models/stream.ts";
import { type MountedAdapter, mount, type Program, parameterInputs } from "../program/program.ts";
import { type HeldWeights, heldWeights } from "./held.ts";

export interface DecodeShape {
  readonly B: number;
  readonly T: number;
  /** 0 for a graph without a cache: the beginning of a sequence. */
  readonly S: number;
  readonly M: number;
}

export interface DecodeOptions {
  readonly model: Model;
  readonly adapters: readonly MountedAdapter[];
  readonly shape: DecodeShape;
  /** Weights that are fed instead of mapped. */
  readonly held: HeldWeights;
}

/**
 * Outputs `logits` [M, V] of the hidden rows that the input `rows` names, and `keys.L` and `values.L` [B, KV, T, D] of
 * the new tokens for every layer L. With S > 0, `past.keys.L` and `past.values.L` [B, KV, S, D] are inputs.
 */
export function decodeProgram({ model, adapters, shape: { B, T, S, M }, held }: DecodeOptions): Program {
  const head = model.architecture.heads["causal-lm"];
  if (!head) throw new ModelError(`${model.folder}: a ${model.rawConfig["model_type"]} model cannot generate text`);
  const stream = createStream(B, T, { S });
  const weights = mount(model, stream, adapters, parameterInputs(), false, (replaced) =>
    heldWeights(model.weights(stream, replaced), held, replaced),
  );
  const hidden = model.architecture.hidden(weights, model.config, stream); // [N, C]
  const rows = gatherRows(hidden, input("rows", "i32", [M])); // the head's matrix is the largest: only rows that count
  const logits = head.logits(weights, model.config as never, rows); // [M, V]
  return { stream, outputs: new Map<string, Value>([["logits", logits], ...stream.produced]) };
}
