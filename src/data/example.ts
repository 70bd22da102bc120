/** One row of training data as the model takes it: token ids with their targets, before batching and padding. */

import type { Task } from "../task.ts";

/** The label of a position that is no target (PyTorch's and transformers' `ignore_index`). */
export const IGNORED = -100;

export interface Example {
  /** Token ids, [T]. */
  readonly ids: Int32Array;
  /** Targets aligned with `ids`, [T], {@link IGNORED} where there is none. Not shifted: causal models shift inside. */
  readonly labels?: Int32Array;
  /** Segment of each token (0 first text, 1 second), [T]; absent when all are 0. */
  readonly typeIds?: Int32Array;
  /** Further texts of the row, which `ids` is compared with: a positive and perhaps a negative, or a second sentence. */
  readonly others?: readonly { readonly ids: Int32Array; readonly typeIds?: Int32Array }[];
  /** What the whole row is labelled: a class index, a value (or several), or a 0 or 1 for each label. */
  readonly label?: number | readonly number[];
  /** The worse answer to the same prompt, where this row is the better one. */
  readonly rejected?: { readonly ids: Int32Array; readonly labels: Int32Array };
  /** Whether the row's answer was judged a good one. */
  readonly desirable?: boolean;
  /** Line of the file that holds the row, from 1 (in a JSON array: the row's number, from 1). */
  readonly line: number;
}

/**
 * How many numbers of the row enter the loss: a causal model never predicts position 0; a row label counts as one. Of a
 * pair, both answers count; it has none when one of them has none.
 */
export function targetCount(example: Example, task: Task): number {
  if (example.others !== undefined) return 1;
  if (example.labels === undefined) return example.label === undefined ? 0 : 1;
  const own = countOf(example.labels, task);
  if (!example.rejected || own === 0) return own;
  const other = countOf(example.rejected.labels, task);
  return other === 0 ? 0 : own + other;
}

/** Tokens of the row, of both answers of a pair. */
export function tokenCount({ ids, rejected, others = [] }: Example): number {
  return ids.length + (rejected?.ids.length ?? 0) + others.reduce((sum, each) => sum + each.ids.length, 0);
}

function countOf(labels: Int32Array, task: Task): number {
  let count = 0;
  for (let i = task === "causal-lm" ? 1 : 0; i < labels.length; i++) if (labels[i] !== IGNORED) count++;
  return count;
}
