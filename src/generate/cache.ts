/**
 * Keys and values of one sequence's tokens, in arrays that sessions read in place.
 * Letters: S places, KV key and value heads, D their width.
 */

import type { ArchitectureFacts } from "../models/architecture.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Fewest places; each size after it is the double, so that long sequences meet few session shapes. */
const SMALLEST = 64;

/** The next size that sessions are made for. */
export function cacheBucket(tokens: number): number {
  let places = SMALLEST;
  while (places < tokens) places *= 2;
  return places;
}

export interface CachedRun {
  /** What a decoding session returned: `keys.L` and `values.L` [1, KV, T, D]. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly T: number;
  /** The first `count` of the T tokens are real and enter the cache. */
  readonly count: number;
  /** Their positions. */
  readonly positions: Int32Array;
}

export interface KeyValueCache {
  /** Tokens held. */
  readonly length: number;
  /** Places in each array. */
  readonly capacity: number;
  /** Makes room for this many tokens in all. */
  reserve(tokens: number): void;
  append(run: CachedRun): void;
  /** Forgets every token from `length` on. */
  truncate(length: number): void;
  /** The inputs `past.*` of a session with S = capacity. */
  inputs(): ReadonlyMap<string, Tensor>;
}

export function createCache({ layers, keyValueHeads: KV, headWidth: D }: CacheFacts): KeyValueCache {
  const names = Array.from({ length: layers }, (_, layer) => [`keys.${layer}`, `values.${layer}`]).flat();
  let capacity = 0;
  let length = 0;
  let positions = new Int32Array(0);
  let segments = new Int32Array(0); // 0 for the sequence's tokens, -1 for free places, which no query sees
  let arrays = new Map<string, Float32Array>();
  let held: ReadonlyMap<string, Tensor> | null = null;

  /** Copies `count` tokens of [KV, fromPlaces, D] into [KV, toPlaces, D] at place `at`. */
  const copy = (
    from: Float32Array,
    fromPlaces: number,
    to: Float32Array,
    toPlaces: number,
    at: number,
    count: number,
  ) => {
    for (let head = 0; head < KV; head++) {
      const start = head * fromPlaces * D;
      to.set(from.subarray(start, start + count * D), (head * toPlaces + at) * D);
    }
  };

  const resize = (places: number): void => {
    const grown = new Map<string, Float32Array>();
    for (const name of names) {
      const array = new Float32Array(KV * places * D);
      const old = arrays.get(name);
      if (old) copy(old, capacity, array, places, 0, length);
      grown.set(name, array);
    }
    const extend = (old: Int32Array, fill: number): Int32Array<ArrayBuffer> => {
      const line = new Int32Array(places).fill(fill);
      line.set(old);
      return line;
    };
    positions = extend(positions, 0);
    segments = extend(segments, -1);
    arrays = grown;
    capacity = places;
    held = null;
  };

  return {
    get length() {
      return length;
    },
    get capacity() {
      return capacity;
    },
    reserve(tokens) {
      if (tokens > capacity) resize(cacheBucket(tokens));
    },
    append({ outputs, T, count, positions: fresh }) {
      if (length + count > capacity) resize(cacheBucket(length + count));
      for (const name of names) {
        copy(outputs.get(name)!.data as Float32Array, T, arrays.get(name)!, capacity, length, count);
      }
      positions.set(fresh.subarray(0, count), length);
      segments.fill(0, length, length + count);
      length += count;
    },
    truncate(tokens) {
      segments.fill(-1, tokens, length);
      length = Math.min(length, tokens);
    },
    inputs() {
      const line = (data: Int32Array): Tensor => ({ dtype: "i32", shape: [1, capacity], data });
      const shape = [1, KV, capacity, D];
      held ??= new Map<string, Tensor>([
        ["past.positions", line(positions)],
        ["past.segments", line(segments)],
        ...[...arrays].map(([name, data]): [string, Tensor] => [`past.${name}`, { dtype: "f32", shape, data }]),
      ]);
      return held;
    },
  };
}

export type CacheFacts = Pick<ArchitectureFacts, "layers" | "keyValueHeads" | "headWidth">;
