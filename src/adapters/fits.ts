/** Which methods an architecture takes, found by binding each to a small model of it. */

import { LowrankError } from "../errors.ts";
import { input } from "../graph/graph.ts";
import type { Architecture } from "../models/architecture.ts";
import { createStream } from "../models/stream.ts";
import { traceModel } from "../models/trace.ts";
import { checkpointWeights, type TensorSource } from "../models/weights.ts";
import { sizeOf } from "../tensor/shape.ts";
import { bindMethod, knownMethods, parseAdapterConfig } from "./bind.ts";

/** One layer of whatever the family's configuration calls layers. */
const SMALL = { num_hidden_layers: 1, n_layer: 1, n_layers: 1 };

/** The `peft_type`s that work on `architecture`, with its default targets where a method has none of its own. */
export function methodsOf(architecture: Architecture): string[] {
  return knownMethods().filter((type) => fits(architecture, type));
}

function fits(architecture: Architecture, peft_type: string): boolean {
  const { defaultTargets, heads } = architecture;
  const facts = architecture.configure({ ...SMALL, model_type: architecture.modelTypes[0] });
  const task = heads["causal-lm"] ? "causal-lm" : "masked-lm";
  const trace = traceModel(architecture, facts, task);
  const context = { trace, facts, modelType: String(architecture.modelTypes[0]), defaultTargets, strict: true };
  const source: TensorSource = {
    has: () => true,
    find: (_name, shape) => ({ dtype: "f32", shape, path: "", offset: 0, byteLength: 4 * sizeOf(shape) }),
  };
  const works = (fields: Readonly<Record<string, unknown>>): boolean => {
    try {
      const method = bindMethod(parseAdapterConfig({ peft_type, ...fields }, peft_type), context);
      const stream = createStream(1, 2);
      const value = (key: string): ReturnType<typeof input> => input(key, "f32", method.parameters.get(key)!.shape);
      const base = checkpointWeights(source, stream, method.replaced(value));
      architecture.hidden(method.decorate(base, value, { weight: 1, dropout: false }), facts, stream);
      return true;
    } catch (error) {
      if (error instanceof LowrankError) return false;
      throw error;
    }
  };
  return works({}) || works({ target_modules: defaultTargets });
}
