/** Gradients of a step, added up over its passes where the runtime leaves them. */

import { input, type Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { isOnDevice, type Runtime, type Session } from "../runtime/session.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The trained tensors by key; they may lie in a device's memory. */
export type Trained = ReadonlyMap<string, Tensor>;

/** One float32 tensor for each trained one, by its key. */
export type Gradients = ReadonlyMap<string, Tensor>;

const PREFIX = "grad.";

/** The outputs of a training program that stay on a device. */
export function isGradient(output: string): boolean {
  return output.startsWith(PREFIX);
}

export interface GradientSum {
  readonly gradients: Gradients;
  /** Adds the outputs `grad.KEY` of a pass. */
  add(outputs: ReadonlyMap<string, Tensor>): Promise<void>;
}

export interface GradientSums {
  /** The sum of a new step. */
  begin(parameters: Trained): GradientSum;
  close(): Promise<void>;
}

/** Sums for one run, whose steps all have the same tensors. */
export function gradientSums(runtime: Runtime): GradientSums {
  let adder: Promise<Session> | null = null;

  const addOnDevice = async (sums: Map<string, Tensor>, parts: Gradients): Promise<void> => {
    adder ??= openAdder(runtime, sums);
    const pairs = [...sums].flatMap(([key, sum]): [string, Tensor][] => [
      [`a.${key}`, sum],
      [`b.${key}`, parts.get(key)!],
    ]);
    const results = await (await adder).run(new Map(pairs));
    for (const [, tensor] of pairs) if (isOnDevice(tensor)) tensor.close();
    for (const [key, tensor] of results) sums.set(key, tensor);
  };

  return {
    begin: (parameters) => {
      const gradients = new Map<string, Tensor>();
      return {
        gradients,
        add: async (outputs) => {
          const parts = new Map([...parameters.keys()].map((key) => [key, outputs.get(PREFIX + key)!]));
          if (gradients.size === 0) for (const [key, part] of parts) gradients.set(key, part);
          else if (runtime.memory) await addOnDevice(gradients, parts);
          else for (const [key, part] of parts) addInto(gradients.get(key)!, part);
        },
      };
    },
    close: async () => {
      await (await adder)?.close();
      adder = null;
    },
  };
}

function addInto(sum: Tensor, part: Tensor): void {
  const [to, from] = [sum.data as Float32Array, part.data as Float32Array];
  for (let i = 0; i < to.length; i++) to[i] = to[i]! + from[i]!;
}

function openAdder(runtime: Runtime, like: Gradients): Promise<Session> {
  const sums = [...like].map(([key, { shape }]): [string, Value] => [
    key,
    add(input(`a.${key}`, "f32", shape), input(`b.${key}`, "f32", shape)),
  ]);
  return runtime.open(new Map(sums), { threads: 1, keep: () => true });
}
