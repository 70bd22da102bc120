/** Rotary positions (Su et al. 2021) as one op: pairs of each head's elements turned by their token's angles. */

import { apply, demand, type Op, type Value } from "../graph.ts";
import { neg } from "./arithmetic.ts";

const RotaryEmbedding: Op<Record<never, never>> = {
  type: "RotaryEmbedding",
  infer: ([x, rows, cos, sin]) => {
    const [B, , T, D] = x!.shape;
    const [N, half] = cos!.shape;
    const fits = x!.shape.length === 4 && rows!.shape.join() === `${B},${T}` && rows!.dtype === "i32";
    demand(
      fits && N === B! * T! && sin!.shape.join() === cos!.shape.join() && 2 * half! <= D!,
      "RotaryEmbedding",
      `[${x!.shape}], rows [${rows!.shape}], cosines [${cos!.shape}]`,
    );
    return [{ dtype: x!.dtype, shape: x!.shape }];
  },
  // A turn's inverse is the turn by the opposite angle.
  gradient: ({ dy, x: [, rows, cos, sin] }) => [
    apply(RotaryEmbedding, [dy, rows!, cos!, neg(sin!)], {}),
    null,
    null,
    null,
  ],
};

/**
 * x [B, heads, T, D] with elements i and i + R / 2 of its first R turned by the angle whose cosine and sine stand in row
 * `rows` [B, T] (int32) of `cos` and `sin` [N, R / 2]. The elements behind R pass through. Angles have no gradient.
 */
export function rotary(x: Value, rows: Value, cos: Value, sin: Value): Value {
  return apply(RotaryEmbedding, [x, rows, cos, sin], {});
}
