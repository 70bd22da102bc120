/**
 * A step's rows → passes through the model: by tokens, or in rows as they come or of like length together, whichever costs
 * less. Which rows form a step, and what each of their targets weighs, is settled before, so that no cut changes the loss.
 */

import { type CostFacts, chooseStreams } from "../program/layout.ts";

export interface PassLimits {
  /** Rows of one pass. Not asked when `tokensPerBatch` is given. */
  readonly batchSize: number;
  /** Places (padding counts) of one pass; a row that is longer has one of its own. */
  readonly tokensPerBatch: number | null;
  readonly cost: CostFacts;
}

interface Measured<T> {
  readonly row: T;
  /** Place in the step. */
  readonly at: number;
  readonly lengths: readonly number[];
}

/** `lengthsOf` gives the lengths of what one row puts into a pass: a pair of answers puts in two. */
export function passesOf<T>(
  rows: readonly T[],
  lengthsOf: (row: T) => readonly number[],
  { batchSize, tokensPerBatch, cost }: PassLimits,
): T[][] {
  if (tokensPerBatch === null && rows.length <= batchSize) return [[...rows]];
  const all = rows.map((row, at): Measured<T> => ({ row, at, lengths: lengthsOf(row) }));
  const longest = ({ lengths }: Measured<T>): number => Math.max(...lengths);
  const sorted = all.toSorted((a, b) => longest(b) - longest(a) || a.at - b.at);
  const passes =
    tokensPerBatch === null
      ? cheapest([cut(all, batchSize), cut(sorted, batchSize)], cost)
      : filled(sorted, tokensPerBatch, cost);
  // Within a pass, rows stay in the step's order.
  return passes.map((pass) => pass.toSorted((a, b) => a.at - b.at).map(({ row }) => row));
}

function cut<T>(rows: readonly Measured<T>[], size: number): Measured<T>[][] {
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => rows.slice(i * size, (i + 1) * size));
}

/** Passes of at most so many places, longest rows first. */
function filled<T>(rows: readonly Measured<T>[], places: number, cost: CostFacts): Measured<T>[][] {
  const passes: Measured<T>[][] = [];
  for (const row of rows) {
    const last = passes.at(-1);
    const { B, T } = chooseStreams(lengthsIn([...(last ?? []), row]), cost);
    if (last && B * T <= places) last.push(row);
    else passes.push([row]);
  }
  return passes;
}

/** The first of the plans that cost least. */
function cheapest<T>(plans: readonly Measured<T>[][][], cost: CostFacts): Measured<T>[][] {
  const price = (plan: readonly Measured<T>[][]): number =>
    plan.reduce((sum, pass) => {
      const { B, T } = chooseStreams(lengthsIn(pass), cost);
      return sum + B * T * (1 + cost.attention * T);
    }, 0);
  return plans.toSorted((a, b) => price(a) - price(b))[0]!;
}

function lengthsIn<T>(pass: readonly Measured<T>[]): number[] {
  return pass.flatMap(({ lengths }) => lengths);
}
