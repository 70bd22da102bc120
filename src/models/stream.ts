/**
 * What a model is run on: B streams of T tokens. A stream holds one row, or several end to end; tokens of different
 * rows never see each other, and each row counts its own positions, so that padding, packing and buckets change
 * nothing but the speed.
 * Letters: B streams, T tokens a stream, N = B·T, S cached tokens a stream.
 */

import { input, integers, scalar, type Value } from "../graph/graph.ts";
import { and, equal, greaterOrEqual, less, sub, where } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { concat, slice } from "../graph/ops/movement.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A batch as it is laid out in streams; the numbers behind every input below. */
export interface Layout {
  readonly B: number;
  readonly T: number;
  /** Token ids [N]; 0 where nothing stands. */
  readonly ids: Int32Array;
  /** Position of each token in its own row [N], virtual tokens of prompt and prefix methods counted. */
  readonly positions: Int32Array;
  /** Row number of each token [N]; -1 where nothing stands. */
  readonly segments: Int32Array;
  /** Token types (sentence A or B) [N]. */
  readonly typeIds: Int32Array;
  /** Number of the virtual prompt token at each place, from 1; 0 for real tokens [N]. */
  readonly virtual: Int32Array;
  /** Longest row in tokens, as transformers would pad to. */
  readonly longest: number;
  /** Fixes this batch's random draws (dropout): a hash of seed and step. */
  readonly draw: number;
}

/** Streams, tokens a stream, tokens in all, and rows that the head reads (0 where none is built). */
export interface StreamSize {
  readonly B: number;
  readonly T: number;
  readonly N: number;
  readonly M: number;
  /** Equal parts in which the head reads its rows. */
  readonly chunks: number;
}

/** An input that the model wants computed from the layout before each run. */
export interface Derived {
  shapeOf(size: StreamSize): readonly number[];
  /** `shape` is the input's for this layout: a graph may be built for one size and run for others. */
  compute(layout: Layout, shape: readonly number[]): Tensor;
}

/** Tokens that earlier runs have left keys and values of. */
export interface Past {
  readonly S: number;
  readonly positions: Value; // [B, S]
  readonly segments: Value; // [B, S], -1 for free places
}

export interface Stream {
  readonly B: number;
  readonly T: number;
  readonly N: number;
  readonly M: number;
  /** Equal parts in which it reads them. */
  readonly chunks: number;
  /** Whether blocks are computed again in the backward pass instead of being kept. */
  readonly recompute: boolean;
  /** Whether the graph is for decoding alone: operators that save passes stand in for several. */
  readonly decoding: boolean;
  /** Equal parts that attention takes its queries in, so that its scores never exist together. */
  readonly parts: number;
  readonly ids: Value; // [N]
  readonly positions: Value; // [N]
  readonly typeIds: Value; // [N]
  readonly virtual: Value; // [N]
  readonly past: Past | null;
  /** Inputs that models have asked for, by name. */
  readonly derived: Map<string, Derived>;
  /** Keys and values of this run's tokens by layer [B, KV, T, D]: what a cache keeps. */
  readonly produced: Map<string, Value>;
  /** Declares an input that `compute` fills from each batch's layout. */
  derive(
    name: string,
    shapeOf: Derived["shapeOf"],
    dtype: "f32" | "i32" | "i64" | "bool",
    compute: Derived["compute"],
  ): Value;
  /**
   * What is added to the scores of the queries of one part: 0 where a query sees a key, the lowest float elsewhere.
   * [B, 1, T / part.of, S + keysOf].
   */
  mask(kind: MaskKind, part?: Part): Value;
}

export interface MaskKind {
  readonly causal: boolean;
  /** Keys further back than this many positions (itself counted) are not seen; null sees all. */
  readonly window: number | null;
}

/** One of some equal parts of a stream's places. */
export interface Part {
  readonly index: number;
  readonly of: number;
}

const WHOLE: Part = { index: 0, of: 1 };

/** Parts of the queries of streams of T tokens: one for short ones, as each number of parts is another graph. */
export function queryParts(T: number): number {
  if (T < 512 || T % 16 !== 0) return 1;
  return T < 2048 ? 4 : 16;
}

/** First places of a stream that the queries of a part may see: a causal model's keys all lie before their queries. */
export function keysOf(T: number, { causal }: MaskKind, { index, of }: Part): number {
  return causal ? ((index + 1) * T) / of : T;
}

const LOWEST = -3.4028234663852886e38;

export interface StreamOptions {
  /** Places for earlier tokens' keys and values; 0 has no cache. */
  readonly S?: number;
  /** Rows that the head reads. */
  readonly M?: number;
  /** Equal parts in which it reads them (1). */
  readonly chunks?: number;
  readonly recompute?: boolean;
  readonly decoding?: boolean;
}

export function createStream(
  B: number,
  T: number,
  { S = 0, M = 0, chunks = 1, recompute = false, decoding = false }: StreamOptions = {},
): Stream {
  const N = B * T;
  const ids = input("ids", "i32", [N]);
  const positions = input("positions", "i32", [N]);
  const segments = input("segments", "i32", [N]);
  const past: Past | null =
    S === 0
      ? null
      : { S, positions: input("past.positions", "i32", [B, S]), segments: input("past.segments", "i32", [B, S]) };
  const derived = new Map<string, Derived>();
  const declared = new Map<string, Value>();
  const masks = new Map<string, Value>();
  const parts = past ? 1 : queryParts(T);
  return {
    B,
    T,
    N,
    M,
    chunks,
    recompute,
    decoding,
    parts,
    ids,
    positions,
    typeIds: input("typeIds", "i32", [N]),
    virtual: input("virtual", "i32", [N]),
    past,
    derived,
    produced: new Map(),
    derive: (name, shapeOf, dtype, compute) => {
      const held = declared.get(name);
      if (held) return held;
      const value = input(name, dtype, shapeOf({ B, T, N, M, chunks }));
      derived.set(name, { shapeOf, compute });
      declared.set(name, value);
      return value;
    },
    mask: (kind, part = WHOLE) => {
      const key = `${kind.causal} ${kind.window} ${part.index}/${part.of}`;
      const held = masks.get(key);
      if (held) return held;
      const value = buildMask({ B, T, positions, segments, past }, kind, part);
      masks.set(key, value);
      return value;
    },
  };
}

interface MaskParts {
  readonly B: number;
  readonly T: number;
  readonly positions: Value;
  readonly segments: Value;
  readonly past: Past | null;
}

function buildMask({ B, T, positions, segments, past }: MaskParts, kind: MaskKind, part: Part): Value {
  const { causal, window } = kind;
  const size = T / part.of;
  const from = part.index * size;
  const queries = (own: Value): Value => reshape(slice(reshape(own, [B, T]), 1, from, from + size), [B, 1, size, 1]);
  const keys = (own: Value, earlier: Value | undefined): Value => {
    const line = slice(reshape(own, [B, T]), 1, 0, keysOf(T, kind, part));
    const all = earlier ? concat([earlier, line], 1) : line;
    return reshape(all, [B, 1, 1, all.shape[1]!]); // [B, 1, 1, S + keys]
  };
  const keySegments = keys(segments, past?.segments);
  const keyPositions = keys(positions, past?.positions);
  const queryPositions = queries(positions);
  let seen = equal(queries(segments), keySegments); // [B, 1, T / parts, S + keys]
  if (causal) seen = and(seen, greaterOrEqual(queryPositions, keyPositions));
  if (window !== null) {
    const distance = sub(queryPositions, keyPositions);
    seen = and(seen, less(distance, reshape(integers([window], "i32"), [])));
  }
  return where(seen, scalar(0), scalar(LOWEST));
}

/** The tensors to feed for a layout, of which the head reads M rows in chunks: its own arrays and everything derived. */
export function streamInputs(
  stream: Pick<Stream, "derived">,
  layout: Layout,
  { M, chunks }: Pick<StreamSize, "M" | "chunks"> = { M: 0, chunks: 1 },
): Map<string, Tensor> {
  const N = layout.B * layout.T;
  const line = (data: Int32Array): Tensor => ({ dtype: "i32", shape: [N], data });
  const tensors = new Map<string, Tensor>([
    ["ids", line(layout.ids)],
    ["positions", line(layout.positions)],
    ["segments", line(layout.segments)],
    ["typeIds", line(layout.typeIds)],
    ["virtual", line(layout.virtual)],
  ]);
  const size = { B: layout.B, T: layout.T, N, M, chunks };
  for (const [name, { compute, shapeOf }] of stream.derived) tensors.set(name, compute(layout, shapeOf(size)));
  return tensors;
}
