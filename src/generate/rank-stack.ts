/**
 * Low-rank adapters side by side: the A of all of them are the rows of one matrix, the B of another, and a factor per
 * token and rank says which of them a token uses and how much. So one product serves every row of a batch, whatever
 * adapters each of them has, and a weighted sum of adapters is exact.
 * Letters: R ranks in all, r of one adapter.
 */

import type { Adapter } from "../adapters/adapter.ts";
import { UsageError } from "../errors.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";

/** An adapter that is nothing but low-rank branches beside linear layers. */
export interface RankedAdapter {
  /** r: its widest branch's; the others are filled with zeros. */
  readonly rank: number;
  readonly branches: ReadonlyMap<string, RankedBranch>;
  readonly bytes: number;
}

interface RankedBranch {
  /** [r, in] */
  readonly A: Float32Array;
  /** [r, out], the branch's scaling multiplied in. */
  readonly B: Float32Array;
}

export interface BranchSize {
  readonly in: number;
  readonly out: number;
}

/** Modules with branches, and their widths. */
export type BranchSizes = ReadonlyMap<string, BranchSize>;

export const stackInput = (side: "A" | "B", module: string): string => `stack.${side}:${module}`;

/** The adapter as one of a stack; null when it is more than low-rank branches. */
export function rankedAdapter({ method, tensors }: Adapter): (RankedAdapter & { readonly sizes: BranchSizes }) | null {
  const list = method.lowRank?.((key) => tensors.get(key)!) ?? null;
  if (list === null || list.length === 0) return null;
  const rank = Math.max(...list.map(({ A }) => A.shape[0]!));
  const padded = (values: Float32Array, width: number): Float32Array => {
    if (values.length === rank * width) return values;
    const whole = new Float32Array(rank * width);
    whole.set(values);
    return whole;
  };
  const branches = new Map<string, RankedBranch>();
  const sizes = new Map<string, BranchSize>();
  let bytes = 0;
  for (const { module, A, B, scaling } of list) {
    const size = { in: A.shape[1]!, out: B.shape[0]! };
    branches.set(module, { A: padded(A.data, size.in), B: turned(B, rank, scaling) });
    sizes.set(module, size);
    bytes += 4 * rank * (size.in + size.out);
  }
  return { rank, branches, sizes, bytes };
}

/** B [out, r] as [ranks, out], `scaling` multiplied in; zeros behind its own r. */
function turned({ shape: [out = 0, r = 0], data }: FloatTensor, ranks: number, scaling: number): Float32Array {
  const rows = new Float32Array(ranks * out);
  for (let k = 0; k < r; k++) {
    for (let at = k * out, from = k; from < data.length; at++, from += r) rows[at] = data[from]! * scaling;
  }
  return rows;
}

export interface Arranged {
  /** R */
  readonly rank: number;
  /** The first rank of each adapter. */
  readonly first: ReadonlyMap<RankedAdapter, number>;
  /** `stack.A:MODULE` [R, in] and `stack.B:MODULE` [R, out]. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

export interface RankStack {
  /**
   * The stack of these adapters, for modules of these sizes; it holds until the next call. With `ranks` it has exactly so
   * many, zeros behind the adapters'; throws UsageError when they need more.
   */
  arrange(adapters: readonly RankedAdapter[], sizes: BranchSizes, ranks: number | null): Arranged;
}

/** A single adapter is read where it lies; of several, those that stay from one call to the next keep their places. */
export function createRankStack(): RankStack {
  const zeros = zeroArrays();
  let sizes: BranchSizes = new Map();
  let capacity = 0;
  let members: { readonly adapter: RankedAdapter; readonly first: number }[] = [];
  let arrays = new Map<string, { readonly A: Float32Array; readonly B: Float32Array }>();

  const rewrite = (room: number): void => {
    capacity = room;
    members = [];
    arrays = new Map(
      [...sizes].map(([module, size]) => [
        module,
        { A: new Float32Array(room * size.in), B: new Float32Array(room * size.out) },
      ]),
    );
  };

  const write = (adapter: RankedAdapter, first: number): void => {
    for (const [module, { A, B }] of arrays) {
      const size = sizes.get(module)!;
      const branch = adapter.branches.get(module);
      const { rank } = adapter;
      if (branch) {
        A.set(branch.A, first * size.in);
        B.set(branch.B, first * size.out);
      } else B.fill(0, first * size.out, (first + rank) * size.out); // what A holds is multiplied by zeros
      if (!branch) A.fill(0, first * size.in, (first + rank) * size.in);
    }
  };

  const single = (adapter: RankedAdapter): Arranged => {
    const tensors = new Map<string, Tensor>();
    for (const [module, size] of sizes) {
      const branch = adapter.branches.get(module);
      const A = branch?.A ?? zeros(adapter.rank * size.in);
      const B = branch?.B ?? zeros(adapter.rank * size.out);
      tensors.set(stackInput("A", module), { dtype: "f32", shape: [adapter.rank, size.in], data: A });
      tensors.set(stackInput("B", module), { dtype: "f32", shape: [adapter.rank, size.out], data: B });
    }
    return { rank: adapter.rank, first: new Map([[adapter, 0]]), tensors };
  };

  return {
    arrange(adapters, wanted, ranks) {
      if (wanted !== sizes) {
        sizes = wanted;
        rewrite(0);
      }
      if (adapters.length === 1 && ranks === null) return single(adapters[0]!);
      const needed = adapters.reduce((sum, { rank }) => sum + rank, 0);
      const total = ranks ?? needed;
      if (needed > total) {
        throw new UsageError(
          `The adapters have ${needed} ranks together; this base was loaded for ${total}. Load it with a higher maxRank.`,
        );
      }
      if (total > capacity) rewrite(Math.max(total, 2 * capacity));
      // Those that were there keep their order and close up; an unmoved one is not written again.
      const used = new Set(adapters);
      const kept = members.filter(({ adapter }) => used.has(adapter));
      const there = new Set(kept.map(({ adapter }) => adapter));
      let first = 0;
      const next: { readonly adapter: RankedAdapter; readonly first: number }[] = [];
      for (const { adapter, first: at } of [
        ...kept,
        ...adapters.filter((each) => !there.has(each)).map((adapter) => ({ adapter, first: -1 })),
      ]) {
        if (at !== first) write(adapter, first);
        next.push({ adapter, first });
        first += adapter.rank;
      }
      members = next;
      const tensors = new Map<string, Tensor>();
      for (const [module, { A, B }] of arrays) {
        const size = sizes.get(module)!;
        const part = (data: Float32Array, width: number): Tensor => ({
          dtype: "f32",
          shape: [total, width],
          data: data.subarray(0, total * width),
        });
        tensors.set(stackInput("A", module), part(A, size.in));
        tensors.set(stackInput("B", module), part(B, size.out));
      }
      return { rank: total, first: new Map(next.map((each) => [each.adapter, each.first])), tensors };
    },
  };
}

/** Arrays of zeros, one of each length. */
function zeroArrays(): (length: number) => Float32Array {
  const held = new Map<number, Float32Array>();
  return (length) => {
    const array = held.get(length) ?? new Float32Array(length);
    held.set(length, array);
    return array;
  };
}
