/** From a row of JSON to ids and targets, by format and task. Cutting at the length limit happens here too. */

import { DataError } from "../errors.ts";
import type { Task } from "../task.ts";
import { chatTokens } from "./chat-targets.ts";
import type { ChatTemplate } from "./chat-template.ts";
import { readConversation } from "./conversation.ts";
import { type Example, IGNORED } from "./example.ts";
import { type Format, isChat, pairKeys } from "./formats.ts";
import { isObject, type JsonObject, kindOf } from "./json-values.ts";
import type { LabelReader } from "./labels.ts";
import { sidesOf, verdict } from "./preference-rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface RowSettings {
  readonly task: Task;
  /** Null is an error for every format that holds text. */
  readonly tokenizer: Tokenizer | null;
  /** The end token put after completions and texts; null for none. */
  readonly endId: number | null;
  /** In tokens; longer rows are cut on the right. */
  readonly maxLength: number;
  /** The same for texts to embed, where it is less; infinite where the model has no limit. */
  readonly textLength?: number;
  readonly maskPrompt: boolean;
  /** Rows of the model's embedding. */
  readonly vocabularySize: number;
  /** The chat template, compiled; throws when the model has none. */
  chatTemplate(where: string): ChatTemplate;
  /** Outputs of the model's head, when settled. */
  readonly labelCount?: number | undefined;
}

/** An example without its line, and whether it was cut. */
export type ReadRow = Omit<Example, "line"> & { readonly truncated: boolean };

/** Reads one row of `format`. Throws a DataError beginning with `where` (file:line). */
export function readRow(
  row: JsonObject,
  format: Format,
  settings: RowSettings,
  labels: LabelReader,
  where: string,
): ReadRow {
  switch (format) {
    case "tokens": {
      const ids = tokenIds(row["input_ids"], "input_ids", settings, where);
      return cut(ids, tokenLabels(row["labels"], ids.length, settings, labels, where), settings.maxLength);
    }
    case "labelled-tokens": {
      const ids = tokenIds(row["input_ids"], "input_ids", settings, where);
      return { ...cut(ids, undefined, settings.maxLength), label: rowLabel(row["label"], settings, labels, where) };
    }
    case "prompt-completion": {
      const tokenizer = tokenizerFor(settings, where);
      const prompt = tokenizer.encode(text(row, "prompt", where), { special: true });
      const completion = tokenizer.encode(text(row, "completion", where), { special: false });
      const ids = Int32Array.from([...prompt, ...completion, ...end(settings)]);
      return cut(ids, ids.slice().fill(IGNORED, 0, settings.maskPrompt ? prompt.length : 0), settings.maxLength);
    }
    case "text": {
      const tokenizer = tokenizerFor(settings, where);
      // Masked models choose their targets anew for every batch, and their special tokens end the text already.
      if (settings.task === "masked-lm") return pair(tokenizer, text(row, "text", where), null, settings.maxLength);
      const ids = Int32Array.from([...tokenizer.encode(text(row, "text", where), { special: true }), ...end(settings)]);
      return cut(ids, ids.slice(), settings.maxLength);
    }
    case "messages":
    case "conversational-completion":
    case "sharegpt":
    case "alpaca": {
      const tokenizer = tokenizerFor(settings, where);
      const template = settings.chatTemplate(where);
      const conversation = readConversation(row, format, where);
      const { maskPrompt } = settings;
      const { ids, labels: targets } = chatTokens(conversation, template, tokenizer, { maskPrompt, where });
      return cut(ids, targets, settings.maxLength);
    }
    case "preference":
    case "conversational-preference":
    case "openai-preference": {
      const sides = sidesOf(row, format, where);
      const [chosen, rejected] = [sides.chosen, sides.rejected].map((side) =>
        answer(side, isChat(format), settings, labels, where),
      );
      const truncated = chosen!.truncated || rejected!.truncated;
      return { ...chosen!, rejected: { ids: rejected!.ids, labels: rejected!.labels! }, truncated };
    }
    case "judged":
    case "conversational-judged": {
      const { label, ...rest } = row;
      return { ...answer(rest, isChat(format), settings, labels, where), desirable: verdict(label, where) };
    }
    case "segments":
      return segments(row, settings, where);
    case "ranked-texts":
      return compared(row, ["anchor", "positive", ...("negative" in row ? ["negative"] : [])], settings, where);
    case "scored-pair":
      return { ...compared(row, ["sentence1", "sentence2"], settings, where), label: score(row, "score", where) };
    case "labelled-text":
    case "labelled-pair": {
      if (settings.task === "sentence-similarity") {
        return { ...compared(row, pairKeys(row)!, settings, where), label: score(row, "label", where) };
      }
      const [first, other] = pairKeys(row) ?? [row["text"] === undefined ? "sentence" : "text", null];
      const second = other === null ? null : text(row, other, where);
      const read = pair(tokenizerFor(settings, where), text(row, first, where), second, settings.maxLength);
      return { ...read, label: rowLabel(row["label"], settings, labels, where) };
    }
    case "words":
      return words(row, settings, labels, where);
  }
}

/** A prompt and its answer, of which only the answer is judged, whatever --no-mask-prompt says. */
function answer(row: JsonObject, chat: boolean, settings: RowSettings, labels: LabelReader, where: string): ReadRow {
  const format = chat ? "conversational-completion" : "prompt-completion";
  return readRow(row, format, { ...settings, maskPrompt: true }, labels, where);
}

function cut(ids: Int32Array, labels: Int32Array | undefined, limit: number): ReadRow {
  const truncated = ids.length > limit;
  return { ids: ids.slice(0, limit), ...(labels === undefined ? {} : { labels: labels.slice(0, limit) }), truncated };
}

function pair(tokenizer: Tokenizer, a: string, b: string | null, limit: number): ReadRow {
  const { ids, typeIds, truncated } = tokenizer.encodePair(a, b, limit);
  return { ids, ...(typeIds.some((type) => type !== 0) ? { typeIds } : {}), truncated };
}

/** Texts that each are tokenized by themselves, and compared as embeddings. */
function compared(row: JsonObject, keys: readonly string[], settings: RowSettings, where: string): ReadRow {
  const tokenizer = tokenizerFor(settings, where);
  const limit = Math.min(settings.maxLength, settings.textLength ?? Number.POSITIVE_INFINITY);
  const [first, ...others] = keys.map((key) => pair(tokenizer, text(row, key, where), null, limit));
  return { ...first!, others, truncated: [first!, ...others].some(({ truncated }) => truncated) };
}

function score(row: JsonObject, key: string, where: string): number {
  const value = row[key];
  if (typeof value === "number" && value >= -1 && value <= 1) return value;
  throw new DataError(
    `${where}: ${key} is ${kindOf(value)}, a cosine from -1 to 1 is needed. Bring other scales to 0 to 1.`,
  );
}

/** Pieces of text that are targets or not, each tokenized by itself without special tokens: axolotl's template-free rows. */
function segments(row: JsonObject, settings: RowSettings, where: string): ReadRow {
  const tokenizer = tokenizerFor(settings, where);
  const parts = array(row["segments"], "segments", where).map((part, i) => {
    const at = `${where}: segments[${i}]`;
    if (!isObject(part)) throw new DataError(`${at} is ${kindOf(part)}, {"label", "text"} is needed.`);
    const { label } = part;
    if (typeof label !== "boolean") throw new DataError(`${at}: "label" is ${kindOf(label)}, true or false is needed.`);
    const ids = tokenizer.encode(text(part, "text", at), { special: false });
    return { ids, target: label || !settings.maskPrompt };
  });
  const ids = Int32Array.from(parts.flatMap((part) => [...part.ids]));
  const labels = Int32Array.from(parts.flatMap((part) => (part.target ? [...part.ids] : [...part.ids].fill(IGNORED))));
  return cut(ids, labels, settings.maxLength);
}

/** A word's label stands at its first token, the others have none: as in transformers' token classification example. */
function words(row: JsonObject, settings: RowSettings, labels: LabelReader, where: string): ReadRow {
  const key = row["ner_tags"] === undefined ? "labels" : "ner_tags";
  const list = array(row["tokens"], "tokens", where);
  const tags = array(row[key], key, where);
  if (tags.length !== list.length) {
    throw new DataError(
      `${where}: ${key} has ${tags.length} entries, tokens has ${list.length}. One label a word is needed.`,
    );
  }
  const texts = list.map((word, i) => {
    if (typeof word !== "string") throw new DataError(`${where}: tokens[${i}] is ${kindOf(word)}, a string is needed.`);
    return word;
  });
  const wanted = tags.map((tag) => labels.tagOf(tag, where));
  const encoded = tokenizerFor(settings, where).encodeWords(texts, settings.maxLength);
  const aligned = encoded.words.map((word, i) =>
    word === -1 || word === encoded.words[i - 1] ? IGNORED : wanted[word]!,
  );
  return { ids: encoded.ids, labels: aligned, truncated: encoded.truncated };
}

function tokenIds(value: unknown, key: string, { vocabularySize }: RowSettings, where: string): Int32Array {
  const list = array(value, key, where);
  list.forEach((id, i) => {
    if (!Number.isInteger(id)) throw new DataError(`${where}: ${key}[${i}] is ${kindOf(id)}, a token id is needed.`);
    if ((id as number) < 0 || (id as number) >= vocabularySize) {
      throw new DataError(
        `${where}: ${key}[${i}] is the token id ${String(id)}, the model's vocabulary has 0 to ${vocabularySize - 1}. ` +
          `Tokenize the rows with this model's tokenizer.`,
      );
    }
  });
  return Int32Array.from(list as readonly number[]);
}

function tokenLabels(
  value: unknown,
  length: number,
  settings: RowSettings,
  labels: LabelReader,
  where: string,
): Int32Array {
  const list = array(value, "labels", where);
  if (list.length !== length) {
    throw new DataError(
      `${where}: labels has ${list.length} entries, input_ids has ${length}. They must be aligned, with ${IGNORED} where there is no target.`,
    );
  }
  if (settings.task === "token-classification") return Int32Array.from(list, (tag) => labels.tagOf(tag, where));
  const known = list.map((id) => (id === IGNORED ? 0 : id));
  const ids = tokenIds(known, "labels", settings, where);
  return ids.map((id, i) => (list[i] === IGNORED ? IGNORED : id));
}

/** A class index, a 0 or 1 for each label, or one or more real values, as the task has it. */
function rowLabel(
  value: unknown,
  { task, labelCount }: RowSettings,
  labels: LabelReader,
  where: string,
): number | number[] {
  if (task === "multi-label-classification") return labels.hotOf(value, where);
  if (Array.isArray(value) && task === "regression") {
    const bad = value.findIndex((entry) => typeof entry !== "number");
    if (bad !== -1) throw new DataError(`${where}: label[${bad}] is ${kindOf(value[bad])}, a number is needed.`);
    if (value.length === 0 || (labelCount !== undefined && value.length !== labelCount)) {
      throw new DataError(
        `${where}: label has ${value.length} entries, one for each of the model's ${labelCount ?? ""} outputs is needed.`,
      );
    }
    return value as number[];
  }
  if (task !== "regression") return labels.classOf(value, where);
  if (typeof value !== "number")
    throw new DataError(`${where}: the label is ${kindOf(value)}, a number is needed for regression.`);
  if (labelCount !== undefined && labelCount !== 1) {
    throw new DataError(
      `${where}: the label is one number, the model has ${labelCount} outputs. Give a list of ${labelCount}, or use --task sequence-classification.`,
    );
  }
  return value;
}

function end({ endId }: RowSettings): readonly number[] {
  return endId === null ? [] : [endId];
}

function tokenizerFor({ tokenizer }: RowSettings, where: string): Tokenizer {
  if (tokenizer !== null) return tokenizer;
  throw new DataError(
    `${where}: the row holds text and the model's folder has no tokenizer. Add tokenizer.json to it, or give rows of input_ids.`,
  );
}

function text(row: JsonObject, key: string, where: string): string {
  const value = row[key];
  if (typeof value !== "string") throw new DataError(`${where}: "${key}" is ${kindOf(value)}, a string is needed.`);
  return value;
}

function array(value: unknown, key: string, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new DataError(`${where}: "${key}" is ${kindOf(value)}, a list is needed.`);
  return value;
}
