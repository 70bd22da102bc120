/** Whether a run computes blocks again in the backward pass. */

import { totalmem } from "node:os";
import type { Example } from "../data/example.ts";
import { type BatchFacts, prepareBatch } from "../program/batch.ts";
import { peakBytes } from "../program/memory.ts";
import { type ProgramOptions, trainProgram } from "../program/program.ts";
import type { TrainOptions } from "./options.ts";

/**
 * Share of the machine's memory that activations may take before blocks are recomputed. Of all memory, not of what is
 * free now: a resumed run must choose as the interrupted one did.
 */
const KEPT_SHARE = 0.3;

/** As asked for; auto decides by the run's largest batch, its longest rows together, in `memory` bytes. */
export function recomputes(
  { recompute, batchSize }: Pick<TrainOptions, "recompute" | "batchSize">,
  program: Omit<ProgramOptions, "shape">,
  examples: readonly Example[],
  facts: BatchFacts,
  memory: number = totalmem(),
): boolean {
  if (recompute !== "auto") return recompute === "full";
  const longest = examples.toSorted((a, b) => b.ids.length - a.ids.length).slice(0, batchSize);
  const { shape } = prepareBatch(longest, facts, 1);
  return peakBytes(trainProgram({ ...program, shape }).outputs.values()) > memory * KEPT_SHARE;
}
