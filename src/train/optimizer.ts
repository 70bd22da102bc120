/** AdamW on the trained tensors, where the runtime keeps them: in the caller's memory or in a device's. */

import type { Runtime } from "../runtime/session.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import { type AdamWOptions, adamwStep, globalNorm, type Moments, type StepOptions } from "./adamw.ts";
import { deviceOptimizer } from "./device-optimizer.ts";
import type { Gradients, Trained } from "./gradients.ts";

export interface Optimizer {
  /** The trained tensors as runs are fed them; an update changes or replaces them. */
  readonly parameters: Trained;
  /** Euclidean norm over all gradients together. */
  norm(gradients: Gradients): Promise<number>;
  /** Clips by `factor` and updates every tensor. The gradients are of no use afterwards. */
  update(gradients: Gradients, options: StepOptions): Promise<void>;
  readParameters(): Promise<ReadonlyMap<string, FloatTensor>>;
  readMoments(): Promise<Moments>;
  close(): Promise<void>;
}

export interface OptimizerState {
  readonly parameters: ReadonlyMap<string, FloatTensor>;
  readonly moments: Moments;
}

/** An optimizer that goes on from `state`, whose arrays it takes over. */
export async function createOptimizer(
  runtime: Runtime,
  state: OptimizerState,
  options: AdamWOptions,
): Promise<Optimizer> {
  return runtime.memory ? deviceOptimizer(runtime, runtime.memory, state, options) : hostOptimizer(state, options);
}

function hostOptimizer({ parameters, moments }: OptimizerState, options: AdamWOptions): Optimizer {
  const arrays = (gradients: Gradients): Map<string, Float32Array> =>
    new Map([...gradients].map(([key, { data }]) => [key, data as Float32Array]));
  return {
    parameters: parameters as ReadonlyMap<string, Tensor>,
    norm: async (gradients) => globalNorm(arrays(gradients)),
    update: async (gradients, step) => adamwStep(parameters, arrays(gradients), moments, options, step),
    readParameters: async () => parameters,
    readMoments: async () => moments,
    close: async () => {},
  };
}
