/** What an architecture is: a pure function of weights, configuration and inputs, and the heads that stand on it. */

import type { Value } from "../graph/graph.ts";
import { TASKS, type Task } from "../task.ts";
import type { RawConfig } from "./config.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface Head<C> {
  /** Which hidden states it reads: those that carry a target, one a row of the data, or all of a row made into one. */
  readonly rows: "targets" | "first" | "last" | "pooled";
  /** Hidden states x [M, C] → scores [M, classes]. */
  logits(w: Weights, config: C, x: Value): Value;
}

/** Tasks that have a head of their own. */
export type HeadTask = Exclude<
  Task,
  "regression" | "multi-label-classification" | "sentence-embedding" | "sentence-similarity"
>;

export interface Architecture<C extends ArchitectureFacts = ArchitectureFacts> {
  /** Names of config.json's `model_type` that this file reads. */
  readonly modelTypes: readonly string[];
  /** Prefix of the base model's tensors, which headless checkpoints leave out: "transformer." */
  readonly basePrefix: string;
  /** Reads config.json; throws ModelError for every option that would change the computation and is not known. */
  configure(config: RawConfig): C;
  /** The hidden states [N, C] that heads read. */
  hidden(w: Weights, config: C, stream: Stream): Value;
  readonly heads: Partial<Readonly<Record<HeadTask, Head<C>>>>;
  /** PEFT's default target modules (`utils/constants.py`). */
  readonly defaultTargets: readonly string[];
  /** Older spellings of a tensor's name, tried in order when the checkpoint lacks it. */
  spellings?(name: string): readonly string[];
}

/** What every configuration tells, whatever its own fields are called. */
export interface ArchitectureFacts {
  readonly vocabularySize: number;
  /** Longest row that the position table takes; null when positions are computed. */
  readonly maxPositions: number | null;
  readonly hiddenSize: number;
  readonly layers: number;
  /** Key and value heads and their width: what a cache of one token costs. */
  readonly keyValueHeads: number;
  readonly headWidth: number;
  /** Classes of a classification head. */
  readonly labels: number;
}

/** The head of a task; undefined where the architecture has none. Tasks that differ in their loss alone share one. */
export function headOf<C extends ArchitectureFacts>({ heads }: Architecture<C>, task: Task): Head<C> | undefined {
  switch (task) {
    case "regression":
    case "multi-label-classification":
      return heads["sequence-classification"];
    case "sentence-embedding":
    case "sentence-similarity":
      return EMBEDDING;
    default:
      return heads[task];
  }
}

/** Embeddings are the pooled hidden states of any model. */
const EMBEDDING: Head<ArchitectureFacts> = { rows: "pooled", logits: (_w, _config, x) => x };

export function tasksOf(architecture: Architecture): Task[] {
  return TASKS.filter((task) => headOf(architecture, task));
}
