/** Which tensors and layers a model asks for, found by building it once; no checkpoint is needed. */

import { gatherRows } from "../graph/ops/gather.ts";
import type { Task } from "../task.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { createStream } from "./stream.ts";
import { checkpointWeights, type EmbeddingSpec, type LinearSpec, type TensorSource, type Weights } from "./weights.ts";

export type Module =
  | { readonly kind: "linear"; readonly name: string; readonly spec: LinearSpec; readonly head: boolean }
  | { readonly kind: "embedding"; readonly name: string; readonly spec: EmbeddingSpec; readonly head: boolean };

export interface ModelTrace {
  /** Every tensor by its checkpoint name, tied ones once. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /** Every linear and embedding layer, in the order of the forward pass; `head` marks those behind the last block. */
  readonly modules: ReadonlyMap<string, Module>;
  readonly parameters: number;
}

/** Builds `task`'s model on one short stream and notes what it asks for. */
export function traceModel<C extends ArchitectureFacts>(
  architecture: Architecture<C>,
  config: C,
  task: Task,
): ModelTrace {
  const tensors = new Map<string, readonly number[]>();
  const modules = new Map<string, Module>();
  let head = false;
  const stream = createStream(1, 2);
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
      return base.linear(name, x, spec);
    },
    embedding: (name, ids, spec) => {
      modules.set(name, { kind: "embedding", name, spec, head });
      return base.embedding(name, ids, spec);
    },
  };
  const hidden = architecture.hidden(recording, config, stream);
  head = true;
  architecture.heads[task]?.logits(recording, config, gatherRows(hidden, stream.ids));
  const parameters = [...tensors.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  return { tensors, modules, parameters };
}
