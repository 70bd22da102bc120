/**
 * Tensors that are trained and saved whole in place of the checkpoint's: modules_to_save, biases, every tensor of full
 * fine-tuning.
 */

import type { LinearSpec } from "../models/weights.ts";
import type { BoundMethod, MergeStep, Parameter } from "./method.ts";

export interface WholeTensors {
  /** By the checkpoint's name of the tensor that each one replaces. */
  readonly tensors: ReadonlyMap<string, Parameter>;
  readonly targets?: readonly string[];
  /** Tied heads among the modules: each gets a matrix of its own, `<module>.weight`. */
  readonly untied?: readonly string[];
}

export function wholeTensors({ tensors, targets = [], untied = [] }: WholeTensors): BoundMethod {
  return {
    parameters: new Map([...tensors.values()].map((each) => [each.key, each])),
    targets,
    mergeable: true,
    unties: untied,
    replaced: (value) => new Map([...tensors].map(([name, { key }]) => [name, value(key)])),
    merge: (step) => {
      const parameter = tensors.get(step.name);
      return parameter ? blend(step, step.values(parameter.key).data) : null;
    },
    decorate: (base) =>
      untied.length === 0
        ? base
        : {
            ...base,
            linear: (module, x, spec) => base.linear(module, x, untied.includes(module) ? ownMatrix(spec) : spec),
          },
  };
}

/** tensor + weight · (trained - frozen): the trained values themselves for one adapter at weight 1. */
function blend({ tensor, frozen, weight }: MergeStep, trained: Float32Array): Float32Array {
  if (weight === 1 && tensor === frozen) return trained.slice();
  return tensor.map((value, i) => value + weight * (trained[i]! - frozen[i]!));
}

/** The layer with a matrix of its own instead of another module's. */
function ownMatrix({ weight: _shared, ...spec }: LinearSpec): LinearSpec {
  return spec;
}
