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
  /** What the whole row is labelled: a class index, a regression value (or several), or a multi-label vector. */
  readonly label?: number | readonly number[];
  /** Line of the file that holds the row, from 1 (in a JSON array: the row's number, from 1). */
  readonly line: number;
}

/** How many numbers of the row enter the loss: a causal model never predicts position 0; a row label counts as one. */
export function targetCount(example: Example, task: Task): number {
  if (example.labels === undefined) return example.label === undefined ? 0 : 1;
  let count = 0;
  for (let i = task === "causal-lm" ? 1 : 0; i < example.labels.length; i++) if (example.labels[i] !== IGNORED) count++;
  return count;
}
