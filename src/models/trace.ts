/** Which tensors and layers a model asks for, found by building it once; no checkpoint is needed. */

import type { Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import type { Task } from "../task.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type Architecture, type ArchitectureFacts, headOf } from "./architecture.ts";
import { createStream, type Stream } from "./stream.ts";
import {
  type ConvSpec,
  checkpointWeights,
  type EmbeddingSpec,
  type LinearSpec,
  type TensorSource,
  type Weights,
} from "./weights.ts";

export type Module =
  | { readonly kind: "linear"; readonly name: string; readonly spec: LinearSpec; readonly head: boolean }
  | { readonly kind: "embedding"; readonly name: string; readonly spec: EmbeddingSpec; readonly head: boolean };

export interface ConvModule {
  readonly kind: "conv";
  readonly name: string;
  readonly spec: ConvSpec;
}

export interface ModelTrace {
  /** Every tensor by its checkpoint name, tied ones once. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /** Every linear and embedding layer, in the order of the forward pass; `head` marks those behind the last block. */
  readonly modules: ReadonlyMap<string, Module>;
  /** Every convolution, in the order of the forward pass. */
  readonly convolutions: ReadonlyMap<string, ConvModule>;
  /** Names of linear layers that read one value, several of each: queries, keys and values of a block. */
  readonly siblings: readonly (readonly string[])[];
  readonly parameters: number;
}

/** Builds `task`'s model on one short stream and notes what it asks for. */
export function traceModel<C extends ArchitectureFacts>(
  architecture: Architecture<C>,
  config: C,
  task: Task,
): ModelTrace {
  const stream = createStream(1, 2);
  return traceWeights(stream, (w, enterHead) => {
    const hidden = architecture.hidden(w, config, stream);
    enterHead();
    headOf(architecture, task)?.logits(w, config, gatherRows(hidden, stream.ids));
  });
}

/** Notes what `build` asks of its weights; layers asked for after `enterHead` was called are marked as the head's. */
export function traceWeights(stream: Stream, build: (w: Weights, enterHead: () => void) => void): ModelTrace {
  const tensors = new Map<string, readonly number[]>();
  const modules = new Map<string, Module>();
  const convolutions = new Map<string, ConvModule>();
  const readers = new Map<Value, string[]>();
  let head = false;
  const source: TensorSource = {
    has: () => true,
    find: (name, shape) => {
      tensors.set(name, shape);
      return { dtype: "f32", shape, path: "", offset: 0, byteLength: 4 * sizeOf(shape) };
    },
  };
  const base = checkpointWeights(source, stream);
  const recording: Weights = {
    ...base,
    linear: (name, x, spec) => {
      modules.set(name, { kind: "linear", name, spec, head });
      const others = readers.get(x);
      if (others) others.push(name);
      else readers.set(x, [name]);
      return base.linear(name, x, spec);
    },
    conv: (name, x, spec) => {
      convolutions.set(name, { kind: "conv", name, spec });
      return base.conv(name, x, spec);
    },
    embedding: (name, ids, spec) => {
      modules.set(name, { kind: "embedding", name, spec, head });
      return base.embedding(name, ids, spec);
    },
  };
  build(recording, () => {
    head = true;
  });
  const parameters = [...tensors.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  const siblings = [...readers.values()].filter((names) => names.length > 1);
  return { tensors, modules, convolutions, siblings, parameters };
}
