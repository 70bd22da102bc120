/** Several methods as one: their tensors together, their decorations one on the other, in order. */

import { UsageError } from "../errors.ts";
import type { BoundMethod, Parameter } from "./method.ts";

/** The methods as one. The first lies nearest the model, tensors taken whole below all. Throws UsageError when two of them own a tensor. */
export function composeMethods(composed: readonly BoundMethod[]): BoundMethod {
  const parts = composed.flatMap((method) => method.parts ?? [method]);
  const methods = [...parts.filter(({ whole }) => whole), ...parts.filter(({ whole }) => !whole)];
  const parameters = new Map<string, Parameter>();
  for (const method of methods) {
    for (const [key, parameter] of method.parameters) {
      if (parameters.has(key)) throw new UsageError(`Two methods train ${key}. Let only one of them have it.`);
      parameters.set(key, parameter);
    }
  }
  const sum = (of: (method: BoundMethod) => number): number => methods.reduce((total, each) => total + of(each), 0);
  const starting = methods.some(({ from }) => from);
  return {
    ...(starting ? { from: (initial) => composeMethods(methods.map((each) => each.from?.(initial) ?? each)) } : {}),
    stored: (values) =>
      new Map(
        methods.flatMap((each) => [
          ...(each.stored?.(values) ?? [...each.parameters.keys()].map((key) => [key, values(key)] as const)),
        ]),
      ),
    parts: methods,
    parameters,
    targets: [...new Set(methods.flatMap(({ targets }) => targets))],
    virtual: {
      prompt: sum(({ virtual }) => virtual?.prompt ?? 0),
      prefix: sum(({ virtual }) => virtual?.prefix ?? 0),
    },
    mergeable: methods.every(({ mergeable }) => mergeable),
    unties: [...new Set(methods.flatMap(({ unties }) => unties))],
    lowRank: (values) => {
      const lists = methods
        .filter(({ parameters: own }) => own.size > 0)
        .map((method) => method.lowRank?.(values) ?? null);
      return lists.some((list) => list === null) ? null : lists.flatMap((list) => list ?? []);
    },
    replaced: (value) => new Map(methods.flatMap((method) => [...method.replaced(value)])),
    passes: (key) => methods.some((method) => method.passes?.(key)),
    decorate: (base, value, options) =>
      methods.reduce((weights, method) => method.decorate(weights, value, options), base),
    merge: (step) => {
      let merged: Float32Array | null = null;
      for (const method of methods) merged = method.merge({ ...step, tensor: merged ?? step.tensor }) ?? merged;
      return merged;
    },
  };
}
