/** Full fine-tuning, the baseline: every tensor of the checkpoint is trained, under its own name. */

import type { BoundMethod } from "../adapters/method.ts";
import { wholeTensors } from "../adapters/whole.ts";
import type { ModelTrace } from "../models/trace.ts";

export function bindFull(trace: ModelTrace): BoundMethod {
  const parameters = new Map(
    [...trace.tensors].map(([name, shape]) => [name, { key: name, shape, init: null, checkpoint: name }] as const),
  );
  return wholeTensors({ tensors: parameters, targets: [...trace.modules.keys()] });
}
