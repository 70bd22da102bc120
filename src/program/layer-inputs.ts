/** The inputs of a model's linear layers, as a program: what initial values that follow the data rest on. */

import { UsageError } from "../errors.ts";
import { input, type Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import type { Model } from "../models/open.ts";
import { createStream } from "../models/stream.ts";
import type { Weights } from "../models/weights.ts";
import type { ProgramShape } from "./layout.ts";
import type { Program } from "./program.ts";

/**
 * Outputs the input [M, in] of each of `modules` at the M tokens that the input `rows` names. Layers that read the same
 * value share an output, named after the first of them. `seen` is told each layer's output as it is built: modules that
 * the hidden states do not pass through (heads) have none. Throws UsageError when none of them has.
 */
export function layerInputsProgram(
  model: Model,
  modules: ReadonlySet<string>,
  { B, T, M }: ProgramShape,
  seen: (module: string, output: string) => void,
): Program {
  const stream = createStream(B, T, { M });
  const recorded = new Map<Value, string>();
  const done = new Set<string>();
  const weights = model.weights(stream, new Map());
  const recording: Weights = {
    ...weights,
    linear: (module, x, spec) => {
      // A shared matrix is applied to tokens first and to relative positions afterwards (DeBERTa).
      if (modules.has(module) && !done.has(module) && x.shape[0] === stream.N) {
        done.add(module);
        const output = recorded.get(x) ?? module;
        recorded.set(x, output);
        seen(module, output);
      }
      return weights.linear(module, x, spec);
    },
  };
  model.architecture.hidden(recording, model.config as never, stream);
  if (recorded.size === 0) {
    throw new UsageError(
      `No linear layer before the head is among ${[...modules].join(", ") || "the targets"}: there are no inputs to look at. Name other target_modules, or another --init.`,
    );
  }
  const rows = input("rows", "i32", [M]);
  return { stream, outputs: new Map([...recorded].map(([x, output]) => [output, gatherRows(x, rows)])) };
}
