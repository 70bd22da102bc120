/** A base with a task settled, and what programs and batches need to know of it. */

import type { AdapterConfig } from "../adapters/bind.ts";
import { type Dataset, loadDataset } from "../data/dataset.ts";
import { loadTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { ModelError } from "../errors.ts";
import type { Head } from "../models/architecture.ts";
import { locateModel } from "../models/locate.ts";
import { checkpointTask, type Model, openModel, traceChecked } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { Task } from "../task.ts";
import type { BatchFacts } from "./batch.ts";
import { NO_VIRTUAL, type Packing, type VirtualTokens } from "./layout.ts";

export interface Base {
  readonly model: Model;
  readonly tokenizer: Tokenizer | null;
  /** Id that ends a text: the tokenizer's, else config.json's. */
  readonly endId: number | null;
}

export interface Setup extends Base {
  readonly task: Task;
  readonly trace: ModelTrace;
  readonly head: Head<never>;
}

export function openBase(name: string): Base {
  const model = openModel(locateModel(name));
  const tokenizer = loadTokenizer(model.folder);
  return { model, tokenizer, endId: tokenizer?.endId ?? firstId(model.rawConfig["eos_token_id"]) };
}

/** The base with its task's head; `absent` names tensors that the checkpoint may lack. */
export function settle(base: Base, task: Task, absent?: (name: string) => boolean): Setup {
  const trace = traceChecked(base.model, task, absent);
  return { ...base, task, trace, head: base.model.architecture.heads[task]! };
}

/** The task by the rules of the contract: the one asked for, the adapter's, the checkpoint's; undefined leaves it to the rows. */
export function resolveTask(
  base: Base,
  asked: Task | null,
  adapter: Pick<AdapterConfig, "task_type"> | null,
): Task | undefined {
  if (asked) return asked;
  const regression = base.model.config.labels === 1 || base.model.rawConfig["problem_type"] === "regression";
  switch (adapter?.task_type) {
    case "CAUSAL_LM":
      return "causal-lm";
    case "SEQ_CLS":
      return regression ? "regression" : "sequence-classification";
    case "TOKEN_CLS":
      return "token-classification";
    default: {
      const task = checkpointTask(base.model.rawConfig);
      return task === "sequence-classification" && regression ? "regression" : (task ?? undefined);
    }
  }
}

/** PEFT's name of a task; null where it has none. */
export function peftTask(task: Task): string | null {
  const names: Partial<Record<Task, string>> = {
    "causal-lm": "CAUSAL_LM",
    "sequence-classification": "SEQ_CLS",
    regression: "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
  };
  return names[task] ?? null;
}

export interface RowOptions {
  readonly task: Task | undefined;
  readonly maxLength: number;
  readonly maskPrompt: boolean;
}

/** Reads a data file for this base. */
export function readData(
  { model, tokenizer, endId }: Base,
  file: string,
  { task, maxLength, maskPrompt }: RowOptions,
): Dataset {
  const classifies = task !== undefined && task !== "causal-lm" && task !== "masked-lm";
  const names = model.rawConfig["label2id"];
  return loadDataset(file, {
    task,
    tokenizer,
    endId,
    maxLength,
    maskPrompt,
    vocabularySize: model.config.vocabularySize,
    maxPositions: model.config.maxPositions,
    labelCount: classifies ? model.config.labels : undefined,
    labelNames: names ? new Map(Object.entries(names as Record<string, number>)) : undefined,
  });
}

/** What batches of this setup need to know. */
export function batchFacts(
  { model, task, head }: Setup,
  virtual: VirtualTokens = NO_VIRTUAL,
  packing: Packing = "auto",
): BatchFacts {
  const { hiddenSize: C, layers, vocabularySize, labels } = model.config;
  const classes = task === "causal-lm" || task === "masked-lm" ? vocabularySize : labels;
  return {
    task,
    rows: head.rows,
    virtual,
    classes,
    labels,
    // Per token a block multiplies about 12 C² numbers; a token of the same stream adds 2 C of scores, and their
    // softmax, masks and transposes, which are bound by memory, weigh about three times as much.
    cost: { packing, attention: 8 / (12 * C), head: classes / (12 * layers * C) },
  };
}

function firstId(value: unknown): number | null {
  const first = Array.isArray(value) ? value[0] : value;
  return typeof first === "number" ? first : null;
}

/** Throws unless the model has a tokenizer: for commands that read text. */
export function demandTokenizer({ model, tokenizer }: Base): Tokenizer {
  if (tokenizer) return tokenizer;
  throw new ModelError(
    `${model.folder}: no tokenizer. Copy tokenizer.json and tokenizer_config.json of the model into it.`,
  );
}
