/**
 * Keys and values of many sequences' tokens, in arrays that sessions read in place. Sequences of about one length that
 * may run together share a pool: rows of one array, so that a run over neighbouring rows copies nothing.
 * Letters: S places of a row, KV key and value heads, D their width.
 */

import type { ArchitectureFacts } from "../models/architecture.ts";
import type { Tensor } from "../tensor/tensor.ts";

export type CacheFacts = Pick<ArchitectureFacts, "layers" | "keyValueHeads" | "headWidth">;

/** One sequence's keys and values. */
export interface CacheRow {
  /** Sequences of one group may run together. */
  readonly group: string;
  readonly pool: CachePool;
  /** Its place in the pool; changes when another row leaves. */
  readonly slot: number;
  /** Tokens held. */
  readonly length: number;
}

export interface CachePool {
  readonly group: string;
  /** S: room of each row. */
  readonly places: number;
  /** The rows by slot. */
  readonly rows: readonly CacheRow[];
  /** The inputs `past.*` of a run over `count` rows from slot `first`. */
  inputs(first: number, count: number): Map<string, Tensor>;
}

/** What a run left for one row. */
export interface CachedRun {
  /** `keys.L` and `values.L` [B, KV, T, D]. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Where the row's tokens lie in them: stream, and first token of it. */
  readonly stream: number;
  readonly at: number;
  readonly positions: Int32Array;
}

/** A copy of a sequence's first tokens, apart from every pool. */
export interface CacheCopy {
  readonly length: number;
  readonly positions: Int32Array;
  /** [KV, length, D] by name. */
  readonly arrays: ReadonlyMap<string, Float32Array>;
  readonly bytes: number;
}

export interface Caches {
  /** A row with room for this many tokens; it grows when more come. */
  open(group: string, tokens: number): CacheRow;
  append(row: CacheRow, run: CachedRun): void;
  /** Forgets every token from `length` on. */
  truncate(row: CacheRow, length: number): void;
  /** A row with the same tokens. */
  fork(row: CacheRow): CacheRow;
  /** The first `length` tokens, copied. */
  copy(row: CacheRow, length: number): CacheCopy;
  /** Fills an empty row with the first `length` tokens of a copy. */
  paste(row: CacheRow, copy: CacheCopy, length: number): void;
  close(row: CacheRow): void;
  /** Bytes of all pools. */
  readonly bytes: number;
}

/** Fewest places; each size after it is the double. */
const SMALLEST = 64;
/** A row goes into a pool with up to this many times the room that it needs, rather than into one of its own. */
const SPARE = 4;

interface Pool extends CachePool {
  readonly rows: Row[];
  readonly bytes: number;
  readonly positions: () => Int32Array;
  readonly segments: () => Int32Array;
  /** Array by name: [slots, KV, S, D]. */
  readonly arrays: () => ReadonlyMap<string, Float32Array>;
  add(row: Row): void;
}

interface Row {
  readonly group: string;
  pool: Pool;
  slot: number;
  length: number;
}

export function createCaches(facts: CacheFacts): Caches {
  const { layers, keyValueHeads: KV, headWidth: D } = facts;
  const names = Array.from({ length: layers }, (_, layer) => [`keys.${layer}`, `values.${layer}`]).flat();
  const pools = new Set<Pool>();

  const poolFor = (group: string, tokens: number): Pool => {
    let places = SMALLEST;
    while (places < tokens) places *= 2;
    const fitting = [...pools].filter((pool) => pool.group === group && pool.places >= places);
    const smallest = fitting.toSorted((a, b) => a.places - b.places)[0];
    if (smallest && smallest.places <= SPARE * places) return smallest;
    const pool = createPool(group, places, names, { KV, D });
    pools.add(pool);
    return pool;
  };

  /** Copies `count` tokens from place 0 of one row to place 0 of another. */
  const move = (from: Pool, fromSlot: number, to: Pool, toSlot: number, count: number): void => {
    for (const name of names) {
      const [source, target] = [from.arrays().get(name)!, to.arrays().get(name)!];
      for (let head = 0; head < KV; head++) {
        const start = (fromSlot * KV + head) * from.places * D;
        target.set(source.subarray(start, start + count * D), (toSlot * KV + head) * to.places * D);
      }
    }
    const start = fromSlot * from.places;
    to.positions().set(from.positions().subarray(start, start + count), toSlot * to.places);
    const first = toSlot * to.places;
    to.segments()
      .fill(0, first, first + count)
      .fill(-1, first + count, first + to.places);
  };

  /** Takes the row out of its pool; the last one moves to its slot. */
  const leave = (row: Row): void => {
    const { pool, slot } = row;
    const last = pool.rows.pop()!;
    if (last !== row) {
      move(pool, last.slot, pool, slot, last.length);
      last.slot = slot;
      pool.rows[slot] = last;
    }
    if (pool.rows.length === 0) pools.delete(pool);
  };

  const grow = (row: Row, tokens: number): void => {
    const { pool, slot, length } = row;
    const wider = poolFor(row.group, tokens);
    const old: Row = { ...row };
    pool.rows[slot] = old;
    wider.add(row);
    move(pool, slot, wider, row.slot, length);
    leave(old);
  };

  return {
    get bytes() {
      return [...pools].reduce((sum, { bytes }) => sum + bytes, 0);
    },
    open(group, tokens) {
      const pool = poolFor(group, tokens);
      const row: Row = { group, pool, slot: 0, length: 0 };
      pool.add(row);
      return row;
    },
    append(given, { outputs, stream, at, positions }) {
      const row = given as Row;
      const count = positions.length;
      if (row.length + count > row.pool.places) grow(row, row.length + count);
      const { pool, slot, length } = row;
      const arrays = pool.arrays();
      for (const name of names) {
        const { data, shape } = outputs.get(name)!;
        const T = shape[2]!;
        const target = arrays.get(name)!;
        for (let head = 0; head < KV; head++) {
          const start = ((stream * KV + head) * T + at) * D;
          target.set(
            (data as Float32Array).subarray(start, start + count * D),
            ((slot * KV + head) * pool.places + length) * D,
          );
        }
      }
      const start = slot * pool.places + length;
      pool.positions().set(positions, start);
      pool.segments().fill(0, start, start + count);
      row.length += count;
    },
    truncate(given, length) {
      const row = given as Row;
      if (length >= row.length) return;
      const start = row.slot * row.pool.places;
      row.pool.segments().fill(-1, start + length, start + row.length);
      row.length = length;
    },
    fork(given) {
      const from = given as Row;
      const row: Row = { ...from };
      from.pool.add(row);
      move(from.pool, from.slot, row.pool, row.slot, from.length);
      return row;
    },
    copy({ pool: given, slot }, length) {
      const pool = given as Pool;
      const arrays = new Map<string, Float32Array>();
      for (const name of names) {
        const source = pool.arrays().get(name)!;
        const array = new Float32Array(KV * length * D);
        for (let head = 0; head < KV; head++) {
          const start = (slot * KV + head) * pool.places * D;
          array.set(source.subarray(start, start + length * D), head * length * D);
        }
        arrays.set(name, array);
      }
      const start = slot * pool.places;
      const bytes = 4 * (names.length * KV * D + 1) * length;
      return { length, positions: pool.positions().slice(start, start + length), arrays, bytes };
    },
    paste(given, copy, length) {
      const row = given as Row;
      const { pool, slot } = row;
      for (const [name, array] of copy.arrays) {
        for (let head = 0; head < KV; head++) {
          const start = head * copy.length * D;
          pool
            .arrays()
            .get(name)!
            .set(array.subarray(start, start + length * D), (slot * KV + head) * pool.places * D);
        }
      }
      const start = slot * pool.places;
      pool.positions().set(copy.positions.subarray(0, length), start);
      pool.segments().fill(0, start, start + length);
      row.length = length;
    },
    close(row) {
      leave(row as Row);
    },
  };
}

/** An empty pool; its arrays double when rows come. */
function createPool(
  group: string,
  places: number,
  names: readonly string[],
  { KV, D }: { readonly KV: number; readonly D: number },
): Pool {
  const rows: Row[] = [];
  const perRow = KV * places * D;
  let slots = 0;
  let positions = new Int32Array(0);
  let segments = new Int32Array(0); // 0 for a row's tokens, -1 for free places, which no query sees
  let arrays = new Map<string, Float32Array>();

  const resize = (count: number): void => {
    const grown = <A extends Float32Array | Int32Array>(old: A | undefined, array: A): A => {
      if (old) array.set(old);
      return array;
    };
    arrays = new Map(names.map((name) => [name, grown(arrays.get(name), new Float32Array(count * perRow))]));
    positions = grown(positions, new Int32Array(count * places));
    segments = grown(segments, new Int32Array(count * places).fill(-1));
    slots = count;
  };

  return {
    group,
    places,
    rows,
    positions: () => positions,
    segments: () => segments,
    arrays: () => arrays,
    get bytes() {
      return 4 * slots * (names.length * perRow + 2 * places);
    },
    add(row) {
      if (rows.length === slots) resize(Math.max(1, 2 * slots));
      row.pool = this;
      row.slot = rows.length;
      rows.push(row);
      const start = row.slot * places;
      segments.fill(-1, start, start + places);
    },
    inputs(first, count) {
      const line = (data: Int32Array): Tensor => ({
        dtype: "i32",
        shape: [count, places],
        data: data.subarray(first * places, (first + count) * places),
      });
      const shape = [count, KV, places, D];
      const inputs = new Map<string, Tensor>([
        ["past.positions", line(positions)],
        ["past.segments", line(segments)],
      ]);
      for (const [name, data] of arrays) {
        const own = data.subarray(first * perRow, (first + count) * perRow);
        inputs.set(`past.${name}`, { dtype: "f32", shape, data: own });
      }
      return inputs;
    },
  };
}
