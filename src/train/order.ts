/** Which rows form which step: a function of step, seed and counts alone, so that resuming needs no cursor. */

import { permutation, randomStream } from "../tensor/random.ts";

export interface OrderOptions {
  readonly rows: number;
  readonly batchSize: number;
  readonly gradAccum: number;
  readonly shuffle: boolean;
  readonly seed: number;
}

/** Updates an epoch takes; the last may be short. */
export function stepsPerEpoch({ rows, batchSize, gradAccum }: OrderOptions): number {
  return Math.ceil(rows / (batchSize * gradAccum));
}

/** Row numbers of update `step` (from 1). */
export function rowsOfStep(options: OrderOptions, step: number): number[] {
  const { rows, batchSize, gradAccum, shuffle, seed } = options;
  const perEpoch = stepsPerEpoch(options);
  const epoch = Math.floor((step - 1) / perEpoch);
  const order = shuffle
    ? permutation(rows, randomStream(seed, 0x0e90c4, epoch))
    : Int32Array.from({ length: rows }, (_, i) => i);
  const start = ((step - 1) % perEpoch) * batchSize * gradAccum;
  return Array.from(order.subarray(start, start + batchSize * gradAccum));
}
