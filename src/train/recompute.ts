/** How a run fits its memory: in which passes it takes a step, and whether it computes blocks again in the backward pass. */

import { totalmem } from "node:os";
import type { Example } from "../data/example.ts";
import { type BatchFacts, prepareBatch } from "../program/batch.ts";
import type { ProgramShape } from "../program/layout.ts";
import { peakBytes } from "../program/memory.ts";
import { type ProgramOptions, trainProgram } from "../program/program.ts";
import { answersOf } from "./judge.ts";
import type { TrainOptions } from "./options.ts";
import { passesOf } from "./passes.ts";

/**
 * Share of the machine's memory that activations may take before blocks are recomputed. Of all memory, not of what is
 * free now: a resumed run must choose as the interrupted one did.
 */
const KEPT_SHARE = 0.3;

/** Share that they may take with recomputation, before a batch is cut into several passes. */
const MOST_SHARE = 0.6;

/**
 * Numbers of a pass's hidden states: 512 tokens of a model 768 wide. Twice as many are no faster, since products reach
 * their speed with fewer rows while everything between them falls out of the CPU's caches, and take twice the memory.
 */
const PASS_NUMBERS = 512 * 768;

/** Fewest places that products are fast with. */
const LEAST_PLACES = 512;

export interface MemoryPlan {
  readonly recompute: boolean;
  /** As asked for, what is fastest where a batch holds more, or what the memory makes necessary. */
  readonly tokensPerBatch: number | null;
  /** Says that the memory has changed the plan. */
  readonly warning: string | null;
}

/** As asked for; auto decides by the run's largest batch, its longest rows together, in `memory` bytes. */
export function planMemory(
  options: Pick<TrainOptions, "recompute" | "batchSize" | "tokensPerBatch" | "method" | "device">,
  program: Omit<ProgramOptions, "shape">,
  examples: readonly Example[],
  facts: BatchFacts,
  memory: number = totalmem(),
): MemoryPlan {
  const { recompute, batchSize } = options;
  const answers = examples.flatMap((row) => answersOf(row));
  const largest = (rows: number, tokens: number | null): Example[] => {
    const longest = answers.toSorted((a, b) => b.ids.length - a.ids.length).slice(0, rows);
    return passesOf(longest, ({ ids }) => [ids.length + facts.virtual.prompt], {
      batchSize: rows,
      tokensPerBatch: tokens,
      cost: facts.cost,
    })[0]!;
  };
  const bytes = (batch: readonly Example[], again: boolean): number => {
    const shape = shapeOf(batch, facts);
    return peakBytes(trainProgram({ ...program, shape, recompute: again }).outputs.values());
  };
  const most = (batchSize * answers.length) / examples.length;
  const tokensPerBatch = options.tokensPerBatch ?? fastestPlaces(options, program, shapeOf(largest(most, null), facts));
  const batch = largest(most, tokensPerBatch);
  const again = recompute === "auto" ? bytes(batch, false) > memory * KEPT_SHARE : recompute === "full";
  if (recompute !== "auto" || !again || options.tokensPerBatch !== null)
    return { recompute: again, tokensPerBatch, warning: null };
  for (let rows = batch.length; rows > 1; rows = Math.ceil(rows / 2)) {
    const part = largest(rows, null);
    if (bytes(part, true) <= memory * MOST_SHARE) {
      if (rows === batch.length) break;
      const { B, T } = shapeOf(part, facts);
      const warning = `The longest ${batch.length} rows do not fit this machine's memory at once: a pass takes at most ${B * T} tokens, and a step more passes. The loss stays the same.`;
      return { recompute: true, tokensPerBatch: B * T, warning };
    }
  }
  return { recompute: again, tokensPerBatch, warning: null };
}

function shapeOf(batch: readonly Example[], facts: BatchFacts): ProgramShape {
  return prepareBatch(batch, facts, 1).shape;
}

/**
 * Places of the passes that are fastest; null where the largest batch is one of them, where each pass costs more than
 * its rows (all weights' gradients are added up, a device is started), or where a batch cannot be cut.
 */
function fastestPlaces(
  { method, device }: Pick<TrainOptions, "method" | "device">,
  { model, task }: Pick<ProgramOptions, "model" | "task">,
  { B, T }: ProgramShape,
): number | null {
  if (method === "full" || device !== "cpu" || task === "sentence-embedding") return null;
  const places = Math.max(LEAST_PLACES, Math.floor(PASS_NUMBERS / model.config.hiddenSize));
  return B * T > places ? places : null;
}
