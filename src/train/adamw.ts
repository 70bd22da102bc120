/**
 * AdamW (Loshchilov and Hutter 2019) as PyTorch computes it, with clipping by the global norm.
 * States are float32 like the parameters; the arithmetic between loads and stores is float64.
 */

import type { FloatTensor } from "../tensor/tensor.ts";

export interface AdamWOptions {
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Decay per step, times the learning rate, of every trainable tensor. */
  readonly weightDecay: number;
}

/** First and second moments by parameter key. */
export interface Moments {
  readonly first: ReadonlyMap<string, Float32Array>;
  readonly second: ReadonlyMap<string, Float32Array>;
}

export function createMoments(parameters: ReadonlyMap<string, FloatTensor>): Moments {
  const zeros = (): Map<string, Float32Array> =>
    new Map([...parameters].map(([key, { data }]) => [key, new Float32Array(data.length)]));
  return { first: zeros(), second: zeros() };
}

/** Euclidean norm over all gradients together. */
export function globalNorm(gradients: ReadonlyMap<string, Float32Array>): number {
  let sum = 0;
  for (const values of gradients.values()) {
    for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  }
  return Math.sqrt(sum);
}

/** Factor that brings gradients of norm `norm` to at most `limit`, as torch's clip_grad_norm_; 0 never clips. */
export function clipFactor(norm: number, limit: number): number {
  return limit > 0 ? Math.min(1, limit / (norm + 1e-6)) : 1;
}

/** Update number `step` (from 1) in place; gradients are multiplied by `factor` first. */
export function adamwStep(
  parameters: ReadonlyMap<string, FloatTensor>,
  gradients: ReadonlyMap<string, Float32Array>,
  moments: Moments,
  { betas: [beta1, beta2], eps, weightDecay }: AdamWOptions,
  { step, learningRate, factor, rateOf = () => 1 }: StepOptions,
): void {
  const correction1 = 1 - beta1 ** step;
  const correction2 = Math.sqrt(1 - beta2 ** step);
  for (const [key, { data }] of parameters) {
    const g = gradients.get(key);
    if (!g) continue; // the loss does not depend on it: left as it is, decay included, as PyTorch does
    const m = moments.first.get(key)!;
    const v = moments.second.get(key)!;
    const rate = learningRate * rateOf(key);
    const keep = 1 - rate * weightDecay;
    const size = rate / correction1;
    for (let i = 0; i < data.length; i++) {
      const dy = g[i]! * factor;
      const first = m[i]! + (dy - m[i]!) * (1 - beta1);
      const second = v[i]! * beta2 + dy * dy * (1 - beta2);
      m[i] = first;
      v[i] = second;
      data[i] = data[i]! * keep - (size * first) / (Math.sqrt(second) / correction2 + eps);
    }
  }
}

export interface StepOptions {
  readonly step: number;
  readonly learningRate: number;
  readonly factor: number;
  /** Factor on the learning rate of one tensor (LoRA+). */
  readonly rateOf?: (key: string) => number;
}
