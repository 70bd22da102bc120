/** Texts of equal length as a text encoder's stream takes them: one row a stream, padding seen like any token. */

import type { Layout } from "../models/stream.ts";

/** `ids` are B texts of T tokens, one after another. */
export function textLayout(ids: Int32Array, B: number): Layout {
  const N = ids.length;
  const T = N / B;
  return {
    B,
    T,
    ids,
    positions: Int32Array.from({ length: N }, (_, i) => i % T),
    segments: Int32Array.from({ length: N }, (_, i) => Math.floor(i / T)),
    typeIds: new Int32Array(N),
    virtual: new Int32Array(N),
    longest: T,
    draw: 0,
  };
}
