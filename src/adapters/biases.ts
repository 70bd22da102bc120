/** LoRA's `bias`: biases trained beside the branches, all of them or those of the targets, in PEFT's spelling. */

import type { ModelTrace } from "../models/trace.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { wholeTensors } from "./whole.ts";

/** The biases as a method of their own; those that `covered` modules hold are left to modules_to_save. */
export function trainedBiases(
  trace: ModelTrace,
  which: "none" | "all" | "lora_only",
  targets: readonly string[],
  covered: (module: string) => boolean,
): BoundMethod {
  const tensors = new Map<string, Parameter>();
  for (const [name, shape] of trace.tensors) {
    if (which === "none" || !name.endsWith(".bias")) continue;
    const module = name.slice(0, -".bias".length);
    const targeted = targets.includes(module);
    if (covered(module) || (which === "lora_only" && !targeted)) continue;
    const key = `base_model.model.${module}${targeted ? ".base_layer" : ""}.bias`;
    tensors.set(name, { key, shape, init: null, checkpoint: name });
  }
  return wholeTensors({ tensors });
}
