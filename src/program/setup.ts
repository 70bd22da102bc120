/** A base with a task settled, and what programs and batches need to know of it. */

import type { AdapterConfig } from "../adapters/bind.ts";
import { type Dataset, loadDataset } from "../data/dataset.ts";
import { drawsTargets } from "../data/formats.ts";
import { type Masking, maskingWith } from "../data/masking.ts";
import { loadTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { ModelError } from "../errors.ts";
import { type Head, headOf } from "../models/architecture.ts";
import { locateModel } from "../models/locate.ts";
import { checkpointTask, type Model, openModel, rowTask, traceChecked, withClasses } from "../models/open.ts";
import { type ModelTrace, traceModel } from "../models/trace.ts";
import { classifies, embeds, labelsValues, type Task } from "../task.ts";
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

/** Opens a model by folder, GGUF file or `embedded:NAME`; `cacheDir` as locateModel takes it, `bare` as openModel. */
export function openBase(
  name: string,
  cacheDir: string | null = null,
  options: { readonly bare?: boolean } = {},
): Base {
  const model = openModel(locateModel(name, cacheDir), options);
  const tokenizer = loadTokenizer(model.folder);
  return { model, tokenizer, endId: tokenizer?.endId ?? firstId(model.rawConfig["eos_token_id"]) };
}

/** The base with its task's head; `absent` names tensors that the checkpoint may lack. */
export function settle(base: Base, task: Task, absent?: (name: string) => boolean): Setup {
  const trace = traceChecked(base.model, task, absent);
  return { ...base, task, trace, head: headOf(base.model.architecture, task)! };
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
      return regression ? "regression" : rowTask(base.model.rawConfig["problem_type"]);
    case "TOKEN_CLS":
      return "token-classification";
    case "FEATURE_EXTRACTION":
      return undefined; // ranked or scored: the rows know
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
    "multi-label-classification": "SEQ_CLS",
    regression: "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "sentence-embedding": "FEATURE_EXTRACTION",
    "sentence-similarity": "FEATURE_EXTRACTION",
  };
  return names[task] ?? null;
}

export interface RowOptions {
  readonly task: Task | undefined;
  readonly maxLength: number;
  readonly maskPrompt: boolean;
}

/** Reads a data file for this base. */
export function readData(base: Base, file: string, { task, maxLength, maskPrompt }: RowOptions): Dataset {
  const { model, tokenizer, endId } = base;
  const names = model.rawConfig["label2id"];
  const counted = task !== undefined && classifies(task) && !lacksHead(model, task);
  const data = loadDataset(file, {
    task,
    tokenizer,
    endId,
    maxLength,
    textLength: textLength(model),
    maskPrompt,
    vocabularySize: model.config.vocabularySize,
    maxPositions: model.config.maxPositions,
    labelCount: counted ? model.config.labels : undefined,
    labelNames: names ? new Map(Object.entries(names as Record<string, number>)) : undefined,
  });
  // The rows named the task: now the model's outputs can be checked, too.
  const found = task === undefined && classifies(data.task) && !lacksHead(model, data.task);
  return found ? readData(base, file, { task: data.task, maxLength, maskPrompt }) : data;
}

/** How targets are drawn in rows of text for masked-lm; null where rows bring their own. */
export function maskingOf(
  { model, tokenizer }: Base,
  { task, format }: Pick<Dataset, "task" | "format">,
  probability: number,
): Masking | null {
  return drawsTargets(task, format) ? maskingWith(tokenizer, probability, model.folder) : null;
}

/** Tokens that texts to embed are cut at. */
export function textLength({ pooling, config }: Model): number {
  return Math.min(pooling.maxLength ?? Number.POSITIVE_INFINITY, config.maxPositions ?? Number.POSITIVE_INFINITY);
}

/** Whether the checkpoint lacks the task's last layer, so that the data, or an adapter, says how many outputs it has. */
export function lacksHead(model: Model, task: Task): boolean {
  const matrix = headMatrix(model, task);
  return matrix !== null && !model.source.has(matrix);
}

/** The checkpoint's name of the last layer's matrix, whose rows are the outputs. */
export function headMatrix({ architecture, config }: Model, task: Task): string | null {
  const last = [...traceModel(architecture, config, task).modules.values()].at(-1);
  return last?.kind === "linear" ? (last.spec.weight ?? `${last.name}.weight`) : null;
}

/** The base with an output for each class of the data, where its checkpoint has no head for the task. */
export function withDataClasses(base: Base, data: Dataset): Base {
  if (!classifies(data.task) || !lacksHead(base.model, data.task)) return base;
  return { ...base, model: withClasses(base.model, data.classes ?? numberedClasses(data), data.task) };
}

function numberedClasses({ examples, task }: Dataset): string[] {
  let count = labelsValues(task) ? 1 : 2;
  for (const { label, labels } of examples) {
    if (labelsValues(task)) count = Math.max(count, [label].flat().length);
    else for (const each of labels ?? [Number(label)]) count = Math.max(count, each + 1);
  }
  return placeholders(count);
}

/** Names of classes that nobody named, as transformers has them. */
export function placeholders(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `LABEL_${i}`);
}

/** What batches of this setup need to know. */
export function batchFacts(
  { model, task, head }: Setup,
  virtual: VirtualTokens = NO_VIRTUAL,
  packing: Packing = "auto",
): BatchFacts {
  const { hiddenSize: C, layers, vocabularySize, labels } = model.config;
  const classes = classifies(task) ? labels : embeds(task) ? C : vocabularySize;
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
