/** Dropout that depends on nothing but seed, step, module and place, so that a resumed run repeats it. */

import { scalar, type Value } from "../graph/graph.ts";
import { scale, where } from "../graph/ops/arithmetic.ts";
import type { Stream, StreamSize } from "../models/stream.ts";
import { hash2, hashText } from "../tensor/random.ts";
import { sameShape, sizeOf } from "../tensor/shape.ts";

/**
 * x with a share of `rate` of its elements set to 0 and the rest scaled up, drawn by counter: the mask depends only on
 * the batch's draw, the module and the element's place, so a resumed run repeats it.
 */
export function dropOut(x: Value, stream: Stream, module: string, rate: number): Value {
  const name = maskName(stream, module, x.shape);
  const shapeOf = sizedShape(x.shape, stream);
  const keep = stream.derive(name, shapeOf, "bool", ({ draw }, shape) => ({
    dtype: "bool",
    shape,
    data: keepMask(sizeOf(shape), rate, hash2(draw, hashText(name))),
  }));
  return where(keep, scale(x, 1 / (1 - rate)), scalar(0));
}

/** The shape for other sizes: of tokens [N, C], of the head's rows [M / chunks, C], or of attention [B, H, T, K]. */
function sizedShape(shape: readonly number[], own: StreamSize): (size: StreamSize) => readonly number[] {
  const [first, heads = 0, , keys = 0] = shape;
  if (shape.length === 4) return ({ B, T }) => [B, heads, T, keys - own.T + T];
  if (first === own.N) return ({ N }) => shape.with(0, N);
  if (first === own.M) return ({ M }) => shape.with(0, M);
  return first === own.M / own.chunks ? ({ M, chunks }) => shape.with(0, M / chunks) : () => shape;
}

/** One mask a module and shape: a module may be called with other numbers of rows, and again when recomputed. */
function maskName(stream: Stream, module: string, shape: readonly number[]): string {
  for (let variant = 0; ; variant++) {
    const name = `dropout.${module}${variant === 0 ? "" : `.${variant}`}`;
    const held = stream.derived.get(name);
    if (!held || sameShape(held.shapeOf(stream), shape)) return name;
  }
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
