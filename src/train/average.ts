/**
 * A running average of trained tensors, which draws better than the tensors themselves: the noise of single steps is gone
 * from it. The decay rises from 0 as diffusers' EMAModel has it (`training_utils.py`).
 */

import type { FloatTensor } from "../tensor/tensor.ts";

/** Averages by parameter key. */
export type Average = ReadonlyMap<string, Float32Array>;

export function startAverage(parameters: ReadonlyMap<string, FloatTensor>): Average {
  return new Map([...parameters].map(([key, { data }]) => [key, data.slice()]));
}

/** Takes in the tensors as update number `step` (from 1) left them. */
export function averageStep(
  average: Average,
  parameters: ReadonlyMap<string, FloatTensor>,
  { step, decay }: { readonly step: number; readonly decay: number },
): void {
  const part = 1 - Math.min(decay, step === 1 ? 0 : step / (9 + step));
  for (const [key, { data }] of parameters) {
    const kept = average.get(key)!;
    for (let i = 0; i < kept.length; i++) kept[i]! += (data[i]! - kept[i]!) * part;
  }
}

/** Puts each in the other's place: what is measured or saved between two calls is the average. */
export function exchange(average: Average, parameters: ReadonlyMap<string, FloatTensor>): void {
  for (const [key, { data }] of parameters) {
    const kept = average.get(key)!;
    const held = data.slice();
    data.set(kept);
    kept.set(held);
  }
}
