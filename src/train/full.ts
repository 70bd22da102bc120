/** Full fine-tuning, the baseline: every tensor of the checkpoint is trained, under its own name. */

import type { BoundMethod, Parameter } from "../adapters/method.ts";
import { freshValues } from "../adapters/modules-to-save.ts";
import { wholeTensors } from "../adapters/whole.ts";
import type { ModelTrace } from "../models/trace.ts";

export function bindFull(trace: ModelTrace): BoundMethod {
  const parameters = new Map<string, Parameter>(
    [...trace.tensors].map(([name, shape]) => [
      name,
      { key: name, shape, init: null, checkpoint: name, fresh: freshValues(name, shape) },
    ]),
  );
  return wholeTensors({ tensors: parameters, targets: [...trace.modules.keys()] });
}
