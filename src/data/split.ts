/** A held-out part of a data set, for when nobody gave one. */

import { DataError } from "../errors.ts";
import { hash2 } from "../tensor/random.ts";
import type { Dataset } from "./dataset.ts";
import { type Example, targetCount, tokenCount } from "./example.ts";

/**
 * The rows to train on and those to evaluate on: `share` of them, at least one, by the seed alone, so that the same file and
 * seed give the same parts. Both keep the file's order. Throws DataError for fewer than two rows.
 */
export function splitDataset(data: Dataset, share: number, seed: number): { train: Dataset; held: Dataset } {
  const count = data.examples.length;
  if (count < 2) throw new DataError("One row cannot be split. Leave --eval-split away, or give more rows.");
  const wanted = Math.min(count - 1, Math.max(1, Math.round(count * share)));
  const drawn = data.examples.map((_, row) => [hash2(seed, row), row] as const);
  const chosen = drawn.toSorted(([a, i], [b, j]) => a - b || i - j).slice(0, wanted);
  const held = new Set(chosen.map(([, row]) => row));
  return {
    train: part(
      data,
      data.examples.filter((_, row) => !held.has(row)),
    ),
    held: part(
      data,
      data.examples.filter((_, row) => held.has(row)),
    ),
  };
}

function part(data: Dataset, examples: readonly Example[]): Dataset {
  const cut = data.truncatedLines;
  return {
    ...data,
    examples,
    statistics: {
      rows: examples.length,
      tokens: examples.reduce((sum, example) => sum + tokenCount(example), 0),
      targetTokens: examples.reduce((sum, example) => sum + targetCount(example, data.task), 0),
      truncatedRows: examples.filter(({ line }) => cut.has(line)).length,
      droppedRows: 0,
    },
  };
}
