/** Full fine-tuning, the baseline: every tensor of the checkpoint is trained, under its own name. */

import { normals } from "../adapters/lora-init.ts";
import type { BoundMethod, Parameter } from "../adapters/method.ts";
import { wholeTensors } from "../adapters/whole.ts";
import type { ModelTrace } from "../models/trace.ts";
import { sizeOf } from "../tensor/shape.ts";

export function bindFull(trace: ModelTrace): BoundMethod {
  const parameters = new Map<string, Parameter>(
    [...trace.tensors].map(([name, shape]) => [
      name,
      { key: name, shape, init: null, checkpoint: name, fresh: freshValues(shape) },
    ]),
  );
  return wholeTensors({ tensors: parameters, targets: [...trace.modules.keys()] });
}

/** Of a head that the checkpoint lacks, as transformers fills it: matrices normal with deviation 0.02, biases zero. */
function freshValues(shape: readonly number[]): NonNullable<Parameter["fresh"]> {
  return (random) => (shape.length > 1 ? normals(sizeOf(shape), 0.02, random) : new Float32Array(sizeOf(shape)));
}
