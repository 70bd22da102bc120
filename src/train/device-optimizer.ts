/**
 * AdamW as a graph, for a device that keeps trained tensors and moments in its own memory: of each step only the norm of
 * the gradients comes back. The formulas are those of adamw.ts, in float32 throughout.
 */

import { input, scalar, type Value } from "../graph/graph.ts";
import { add, div, mul, scale, sqrt, sub } from "../graph/ops/arithmetic.ts";
import { sumAll } from "../graph/ops/broadcast.ts";
import { type DeviceMemory, type DeviceTensor, isOnDevice, type Runtime, type Session } from "../runtime/session.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import type { AdamWOptions, StepOptions } from "./adamw.ts";
import type { Gradients } from "./gradients.ts";
import type { Optimizer, OptimizerState } from "./optimizer.ts";

/** What a step tells the graph, as inputs. */
type Told = "factor" | "inverse1" | "inverse2";

export async function deviceOptimizer(
  runtime: Runtime,
  memory: DeviceMemory,
  { parameters: start, moments }: OptimizerState,
  options: AdamWOptions,
): Promise<Optimizer> {
  const parameters = new Map<string, DeviceTensor>();
  const first = new Map<string, DeviceTensor>();
  const second = new Map<string, DeviceTensor>();
  for (const [key, tensor] of start) {
    parameters.set(key, await memory.upload(tensor));
    first.set(key, await memory.upload(floatTensor(tensor.shape, moments.first.get(key)!)));
    second.set(key, await memory.upload(floatTensor(tensor.shape, moments.second.get(key)!)));
  }
  const kept = { parameter: parameters, first, second };
  let normSession: Promise<Session> | null = null;
  let updateSession: Promise<Session> | null = null;

  const read = async (tensors: ReadonlyMap<string, DeviceTensor>): Promise<Map<string, FloatTensor>> => {
    const out = new Map<string, FloatTensor>();
    for (const [key, tensor] of tensors) out.set(key, await memory.read(tensor));
    return out;
  };

  return {
    parameters,
    norm: async (gradients) => {
      normSession ??= runtime.open(new Map([["norm", normGraph(start)]]), { threads: 1 });
      const outputs = await (await normSession).run(named("gradient", gradients));
      return Number(outputs.get("norm")!.data[0]);
    },
    update: async (gradients, step) => {
      updateSession ??= runtime.open(updateGraph(start, options), { threads: 1, keep: () => true });
      const inputs = new Map<string, Tensor>([...named("gradient", gradients), ...told(start, options, step)]);
      for (const [kind, tensors] of Object.entries(kept)) for (const each of named(kind, tensors)) inputs.set(...each);
      const outputs = await (await updateSession).run(inputs);
      for (const [kind, tensors] of Object.entries(kept)) {
        for (const [key, old] of tensors) {
          old.close();
          tensors.set(key, outputs.get(`next.${kind}.${key}`) as DeviceTensor);
        }
      }
      for (const tensor of gradients.values()) if (isOnDevice(tensor)) tensor.close();
    },
    readParameters: () => read(parameters),
    readMoments: async () => {
      const arrays = async (tensors: ReadonlyMap<string, DeviceTensor>): Promise<Map<string, Float32Array>> =>
        new Map([...(await read(tensors))].map(([key, { data }]) => [key, data]));
      return { first: await arrays(first), second: await arrays(second) };
    },
    close: async () => {
      for (const session of [normSession, updateSession]) await (await session)?.close();
      for (const tensors of Object.values(kept)) for (const tensor of tensors.values()) tensor.close();
    },
  };
}

function normGraph(like: Gradients): Value {
  const squares = [...like].map(([key, { shape }]) => {
    const dy = input(`gradient.${key}`, "f32", shape);
    return sumAll(mul(dy, dy));
  });
  return sqrt(squares.reduce(add));
}

function updateGraph(like: Gradients, { betas: [beta1, beta2], eps }: AdamWOptions): Map<string, Value> {
  const outputs = new Map<string, Value>();
  const of = (name: Told): Value => input(name, "f32", []);
  const [factor, inverse1, inverse2] = [of("factor"), of("inverse1"), of("inverse2")];
  for (const [key, { shape }] of like) {
    const tensor = (kind: string): Value => input(`${kind}.${key}`, "f32", shape);
    const [parameter, m, v] = [tensor("parameter"), tensor("first"), tensor("second")];
    const dy = mul(tensor("gradient"), factor);
    const first = add(m, scale(sub(dy, m), 1 - beta1));
    const second = add(scale(v, beta2), scale(mul(dy, dy), 1 - beta2));
    const step = div(mul(first, inverse1), add(mul(sqrt(second), inverse2), scalar(eps)));
    const kept = mul(parameter, input(`keep.${key}`, "f32", []));
    outputs.set(`next.parameter.${key}`, sub(kept, mul(step, input(`rate.${key}`, "f32", []))));
    outputs.set(`next.first.${key}`, first);
    outputs.set(`next.second.${key}`, second);
  }
  return outputs;
}

/** The numbers of a step. */
function told(
  like: Gradients,
  { betas: [beta1, beta2], weightDecay }: AdamWOptions,
  { step, learningRate, factor, rateOf = () => 1 }: StepOptions,
): Map<string, Tensor> {
  const number = (value: number): Tensor => floatTensor([], Float32Array.of(value));
  const common: Readonly<Record<Told, number>> = {
    factor,
    inverse1: 1 / (1 - beta1 ** step),
    inverse2: 1 / Math.sqrt(1 - beta2 ** step),
  };
  const numbers = new Map(Object.entries(common).map(([name, value]) => [name, number(value)]));
  for (const key of like.keys()) {
    const rate = learningRate * rateOf(key);
    numbers.set(`rate.${key}`, number(rate));
    numbers.set(`keep.${key}`, number(1 - rate * weightDecay));
  }
  return numbers;
}

function named(kind: string, tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map([...tensors].map(([key, tensor]) => [`${kind}.${key}`, tensor]));
}
