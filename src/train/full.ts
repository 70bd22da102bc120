/** Full fine-tuning, the baseline: every tensor of the checkpoint is trained, under its own name. */

import type { BoundMethod, Parameter } from "../adapters/method.ts";
import { freshValues } from "../adapters/modules-to-save.ts";
import { wholeTensors } from "../adapters/whole.ts";
import type { ModelTrace } from "../models/trace.ts";

/** `deviation` is that of new matrices, where the checkpoint lacks some: config.json's `initializer_range`. */
export function bindFull(trace: ModelTrace, deviation?: number): BoundMethod {
  const parameters = new Map<string, Parameter>(
    [...trace.tensors].map(([name, shape]) => [
      name,
      { key: name, shape, init: null, checkpoint: name, fresh: freshValues(name, shape, deviation) },
    ]),
  );
  return wholeTensors({ tensors: parameters, targets: [...trace.modules.keys()] });
}
