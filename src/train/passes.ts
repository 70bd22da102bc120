/**
 * A step's rows → passes through the model. Rows of like length go together, which pads least; which rows form a step,
 * and what each of their targets weighs, is settled before, so that no cut changes the loss.
 */

import { type CostFacts, chooseStreams } from "../program/layout.ts";

export interface PassLimits {
  /** Rows of one pass. Not asked when `tokensPerBatch` is given. */
  readonly batchSize: number;
  /** Places (padding counts) of one pass; a row that is longer has one of its own. */
  readonly tokensPerBatch: number | null;
  readonly cost: CostFacts;
}

/** `lengthsOf` gives the lengths of what one row puts into a pass: a pair of answers puts in two. */
export function passesOf<T>(
  rows: readonly T[],
  lengthsOf: (row: T) => readonly number[],
  { batchSize, tokensPerBatch, cost }: PassLimits,
): T[][] {
  if (tokensPerBatch === null && rows.length <= batchSize) return [[...rows]];
  const all = rows.map((row, at) => ({ row, at, lengths: lengthsOf(row) }));
  const longest = ({ lengths }: (typeof all)[number]): number => Math.max(...lengths);
  const sorted = all.toSorted((a, b) => longest(b) - longest(a) || a.at - b.at);
  const passes: (typeof all)[] = [];
  for (const row of sorted) {
    const last = passes.at(-1);
    if (
      last &&
      fits(
        [...last, row].flatMap(({ lengths }) => lengths),
        last.length,
      )
    )
      last.push(row);
    else passes.push([row]);
  }
  // Within a pass, rows stay in the step's order.
  return passes.map((pass) => pass.toSorted((a, b) => a.at - b.at).map(({ row }) => row));

  function fits(lengths: readonly number[], count: number): boolean {
    if (tokensPerBatch === null) return count < batchSize;
    const { B, T } = chooseStreams(lengths, cost);
    return B * T <= tokensPerBatch;
  }
}
