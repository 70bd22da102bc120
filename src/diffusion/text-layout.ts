/** Texts of equal length as a text encoder's stream takes them: one row a stream, padding seen like any token. */

import { type ClipTextConfig, endOf } from "../models/clip-text.ts";
import { type Layout, type Stream, streamInputs } from "../models/stream.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The encoder's inputs for `ids`, B texts of T tokens, one after another: the stream's, and `ends` for pooled texts. */
export function textInputs(stream: Stream, config: ClipTextConfig, ids: Int32Array): Map<string, Tensor> {
  const { B, T } = stream;
  const ends = Int32Array.from({ length: B }, (_, i) => i * T + endOf(ids.subarray(i * T, (i + 1) * T), config));
  return streamInputs(stream, textLayout(ids, B)).set("ends", { dtype: "i32", shape: [B], data: ends });
}

function textLayout(ids: Int32Array, B: number): Layout {
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
