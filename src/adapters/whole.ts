/**
 * Tensors that are trained and saved whole in place of the checkpoint's: modules_to_save, biases, every tensor of full
 * fine-tuning.
 */

import { add, scale, sub } from "../graph/ops/arithmetic.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import type { LinearSpec } from "../models/weights.ts";
import type { BoundMethod, MergeStep, Parameter } from "./method.ts";

export interface WholeTensors {
  /** By the checkpoint's name of the tensor that each one replaces. */
  readonly tensors: ReadonlyMap<string, Parameter>;
  /** Embedding tables by module, replaced for look-ups alone: a head tied to one goes on reading the checkpoint's. */
  readonly tables?: ReadonlyMap<string, Parameter>;
  readonly targets?: readonly string[];
  /** Tied heads that get a matrix of their own, `<module>.weight`, one of `tensors`. */
  readonly untied?: readonly string[];
  /** As BoundMethod has it; `untied` when absent. */
  readonly unties?: readonly string[];
}

export function wholeTensors(whole: WholeTensors): BoundMethod {
  const { tensors, tables = new Map<string, Parameter>(), targets = [], untied = [], unties = untied } = whole;
  const merging = new Map([...tensors, ...[...tables].map(([module, each]) => [`${module}.weight`, each] as const)]);
  return {
    whole: true,
    parameters: new Map([...merging.values()].map((each) => [each.key, each])),
    targets,
    mergeable: true,
    unties,
    replaced: (value) => new Map([...tensors].map(([name, { key }]) => [name, value(key)])),
    merge: (step) => {
      const parameter = merging.get(step.name);
      return parameter ? blend(step, step.values(parameter.key).data) : null;
    },
    decorate: (base, value, { weight, frozen = base }) => ({
      ...base,
      linear: (module, x, spec) => base.linear(module, x, untied.includes(module) ? ownMatrix(spec) : spec),
      embedding: (module, ids, spec) => {
        const table = tables.get(module);
        if (!table) return base.embedding(module, ids, spec);
        const rows = gatherRows(value(table.key), ids);
        if (weight === 1 && frozen === base) return rows;
        const moved = sub(rows, frozen.embedding(module, ids, spec));
        return add(base.embedding(module, ids, spec), scale(moved, weight));
      },
    }),
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
