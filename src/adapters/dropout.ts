/** Dropout that depends on nothing but seed, step, module and place, so that a resumed run repeats it. */

import { scalar, type Value } from "../graph/graph.ts";
import { scale, where } from "../graph/ops/arithmetic.ts";
import type { Stream } from "../models/stream.ts";
import { hash2, hashText } from "../tensor/random.ts";

/**
 * x with a share of `rate` of its elements set to 0 and the rest scaled up, drawn by counter: the mask depends only on
 * the batch's draw, the module and the element's place, so a resumed run repeats it.
 */
export function dropOut(x: Value, stream: Stream, module: string, rate: number): Value {
  const count = x.shape.reduce((a, b) => a * b, 1);
  const name = `dropout.${module}.${x.shape.join("x")}`; // a module may be called with other numbers of rows
  const keep = stream.derive(name, x.shape, "bool", ({ draw }) => ({
    dtype: "bool",
    shape: x.shape,
    data: keepMask(count, rate, hash2(draw, hashText(name))),
  }));
  return where(keep, scale(x, 1 / (1 - rate)), scalar(0));
}

/** 1 with probability 1 - rate, else 0; xorshift32 from `seed`. */
function keepMask(count: number, rate: number, seed: number): Uint8Array {
  const mask = new Uint8Array(count);
  const threshold = Math.round(rate * 2 ** 32);
  let state = seed | 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    mask[i] = state >>> 0 >= threshold ? 1 : 0;
  }
  return mask;
}
