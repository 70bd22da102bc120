/** A data file as examples for one model: read, tokenized, cut and checked, with every problem named by its line. */

import { DataError } from "../errors.ts";
import type { Task } from "../task.ts";
import { type ChatTemplate, chatTemplateOf } from "./chat-template.ts";
import { type Example, targetCount, tokenCount } from "./example.ts";
import { describe, drawsTargets, type Format, formatOf, taskOf } from "./formats.ts";
import { type LabelReader, labelReader } from "./labels.ts";
import { type Row, readRows } from "./read-rows.ts";
import { type RowSettings, readRow } from "./row-reader.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface DatasetOptions extends Omit<RowSettings, "task" | "chatTemplate"> {
  /** Undefined: what the rows suggest. */
  readonly task: Task | undefined;
  /** The longest sequence that the model has positions for; null when it has no such limit. */
  readonly maxPositions: number | null;
  /** Class indices by name: `label2id` of the model's configuration, or the classes of the training data. */
  readonly labelNames?: ReadonlyMap<string, number> | undefined;
}

export interface Dataset {
  readonly examples: readonly Example[];
  readonly format: Format;
  readonly task: Task;
  readonly statistics: {
    readonly rows: number;
    /** Real tokens of all rows, after cutting. */
    readonly tokens: number;
    /** What the loss is the mean over: target tokens, or labelled rows. 0 for masked-lm on text, which draws them later. */
    readonly targetTokens: number;
    /** Rows cut at `maxLength`. */
    readonly truncatedRows: number;
    /** Rows left out: none yet, as rows that cannot be trained on are errors. */
    readonly droppedRows: number;
  };
  /** Lines of the rows that were cut. */
  readonly truncatedLines: ReadonlySet<number>;
  /** Class names by index, when rows or model name them. */
  readonly classes?: readonly string[];
}

/**
 * Reads `file`, in any of the shapes of read-rows.ts. Throws a DataError for rows of two formats, rows that do not fit
 * the task or the model, and rows without any target.
 */
export function loadDataset(file: string, options: DatasetOptions): Dataset {
  const { maxLength, maxPositions } = options;
  if (!Number.isInteger(maxLength) || maxLength < 1) {
    throw new DataError(`The maximum length is ${maxLength}, a whole number of tokens from 1 is needed.`);
  }
  const { format, task, labels } = survey(file, options);
  const settings: RowSettings = { ...options, task, chatTemplate: templateReader(options) };
  const examples: Example[] = [];
  const untargeted: { line: number; truncated: boolean }[] = [];
  const truncatedLines = new Set<number>();
  let [tokens, targetTokens] = [0, 0];
  const drawn = drawsTargets(task, format);

  for (const { line, value } of readRows(file)) {
    const where = `${file}:${line}`;
    const { truncated, ...read } = readRow(value, format, settings, labels, where);
    const example: Example = { ...read, line };
    const sides = [example, ...(example.rejected ? [example.rejected] : []), ...(example.others ?? [])].map(
      ({ ids }) => ids,
    );
    const lengths = sides.map((ids) => ids.length);
    if (lengths.includes(0)) throw new DataError(`${where}: the row has no tokens. Remove it.`);
    const longest = Math.max(...lengths);
    if (maxPositions !== null && longest > maxPositions) {
      throw new DataError(
        `${where}: the row has ${longest} tokens, the model has ${maxPositions} positions. Use --max-length ${maxPositions} or less.`,
      );
    }
    const beyond = sides.flatMap((ids) => ids.find((id) => id >= options.vocabularySize) ?? [])[0]; // pre-tokenized rows are checked before
    if (beyond !== undefined) {
      throw new DataError(
        `${where}: the tokenizer gives the token id ${beyond}, the model's vocabulary has 0 to ${options.vocabularySize - 1}. ` +
          `Use the tokenizer that belongs to the model.`,
      );
    }
    const targets = targetCount(example, task);
    if (targets === 0 && !(drawn && hasOrdinary(example, options.tokenizer))) untargeted.push({ line, truncated });
    examples.push(example);
    tokens += tokenCount(example);
    targetTokens += targets;
    if (truncated) truncatedLines.add(line);
  }
  if (untargeted.length > 0) {
    throw new DataError(untargetedMessage(file, untargeted, { total: examples.length, task, maxLength, drawn }));
  }
  const classes = labels.classes();
  const statistics = {
    rows: examples.length,
    tokens,
    targetTokens,
    truncatedRows: truncatedLines.size,
    droppedRows: 0,
  };
  return { examples, format, task, statistics, truncatedLines, ...(classes === undefined ? {} : { classes }) };
}

/** The file's one format, its task, and the class names that its rows use: known only after reading it all. */
function survey(file: string, options: DatasetOptions): { format: Format; task: Task; labels: LabelReader } {
  let first: { line: number; format: Format; task: Task } | undefined;
  const names = new Set<string>();
  for (const { line, value } of readRows(file)) {
    const where = `${file}:${line}`;
    const format = formatOf(value, where);
    first ??= { line, format, task: taskOf(format, value, options.task, options.labelCount, where) };
    if (format !== first.format) {
      throw new DataError(
        `${where}: a row of ${describe(format)} in a file of ${describe(first.format)} (line ${first.line}). Keep one format a file.`,
      );
    }
    for (const name of labelsOf({ line, value }, format)) if (typeof name === "string") names.add(name);
  }
  const { format, task } = first!; // readRows refuses a file without rows
  return { format, task, labels: labelReader(options.labelNames, options.labelCount, names, file) };
}

/** Whether the row has a token that a mask may hide. */
function hasOrdinary({ ids }: Example, tokenizer: Tokenizer | null): boolean {
  return ids.some((id) => !tokenizer?.specialIds.has(id));
}

/** Compiles the tokenizer's chat template when the first row asks for it. */
function templateReader({ tokenizer }: DatasetOptions): (where: string) => ChatTemplate {
  let template: ChatTemplate | undefined;
  return (where) => {
    if (tokenizer?.chatTemplate == null) {
      throw new DataError(
        `${where}: rows of messages need a chat template, and the model has none. Use a chat model (often named Instruct), ` +
          `add chat_template.jinja to its folder, or give rows of {"prompt", "completion"}.`,
      );
    }
    template ??= chatTemplateOf(tokenizer, "The model");
    return template;
  };
}

function labelsOf({ value }: Row, format: Format): readonly unknown[] {
  const found = format === "words" ? (value["ner_tags"] ?? value["labels"]) : format === "tokens" ? [] : value["label"];
  return Array.isArray(found) ? found : [found];
}

function untargetedMessage(
  file: string,
  rows: readonly { line: number; truncated: boolean }[],
  { total, task, maxLength, drawn }: { total: number; task: Task; maxLength: number; drawn: boolean },
): string {
  const [first] = rows;
  const all = rows.length === total;
  const others = rows
    .slice(1, 6)
    .map(({ line }) => line)
    .join(", ");
  const more =
    rows.length === 1 ? "" : ` So have ${rows.length - 1} more (line ${others}${rows.length > 6 ? ", …" : ""}).`;
  const where = all ? `${file}: no row has a target; line ${first!.line}` : `${file}:${first!.line}: the row`;
  const why = drawn
    ? "has nothing but special tokens, so that there is nothing to mask. Remove it."
    : first!.truncated
      ? `lost its targets when it was cut at ${maxLength} tokens. Raise --max-length, or shorten the prompt.`
      : `has no target: every label is -100${task === "causal-lm" ? ", counted from the second token, as nothing predicts the first" : ""}. ` +
        `Give it targets, or remove it.`;
  return `${where} ${why}${all ? "" : more}`;
}
