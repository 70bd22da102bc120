/** The row formats: which keys make which, which are read, and for which tasks. */

import { DataError } from "../errors.ts";
import type { Task } from "../task.ts";
import type { JsonObject } from "./json-values.ts";

export type Format =
  | "tokens"
  | "labelled-tokens"
  | "prompt-completion"
  | "text"
  | "messages"
  | "conversational-completion"
  | "sharegpt"
  | "alpaca"
  | "segments"
  | "labelled-text"
  | "labelled-pair"
  | "ranked-texts"
  | "scored-pair"
  | "words"
  | "preference"
  | "conversational-preference"
  | "openai-preference"
  | "judged"
  | "conversational-judged";

interface Rule {
  readonly format: Format;
  readonly fits: (row: JsonObject) => boolean;
}

// A null column counts as absent, but for labels, where it is a mistake worth a message.
const has = (...keys: readonly string[]): ((row: JsonObject) => boolean) => {
  return (row) => keys.every((key) => row[key] !== undefined && (row[key] !== null || key === "label"));
};

/** What two compared texts are called: GLUE's names of all its tasks. */
const PAIRS = [
  ["sentence1", "sentence2"],
  ["question1", "question2"],
  ["question", "sentence"],
  ["premise", "hypothesis"],
] as const;

/** The names of a row's two texts; null for a row of one. */
export function pairKeys(row: JsonObject): readonly [string, string] | null {
  return PAIRS.find((pair) => has(...pair)(row)) ?? null;
}

/** In order: the first that fits is the row's format. */
const RULES: readonly Rule[] = [
  { format: "tokens", fits: has("input_ids", "labels") },
  { format: "labelled-tokens", fits: has("input_ids", "label") },
  { format: "openai-preference", fits: has("input", "preferred_output", "non_preferred_output") },
  {
    format: "conversational-preference",
    fits: (row) => has("chosen", "rejected")(row) && Array.isArray(row["chosen"]),
  },
  { format: "preference", fits: has("chosen", "rejected") },
  { format: "messages", fits: has("messages") },
  { format: "sharegpt", fits: has("conversations") },
  { format: "segments", fits: has("segments") },
  {
    format: "conversational-judged",
    fits: (row) => has("prompt", "completion", "label")(row) && Array.isArray(row["completion"]),
  },
  { format: "judged", fits: has("prompt", "completion", "label") },
  {
    format: "conversational-completion",
    fits: (row) =>
      has("prompt", "completion")(row) && (Array.isArray(row["prompt"]) || Array.isArray(row["completion"])),
  },
  { format: "prompt-completion", fits: has("prompt", "completion") },
  { format: "alpaca", fits: has("instruction", "output") },
  { format: "words", fits: (row) => has("tokens", "ner_tags")(row) || has("tokens", "labels")(row) },
  { format: "ranked-texts", fits: has("anchor", "positive") },
  { format: "scored-pair", fits: has("sentence1", "sentence2", "score") },
  { format: "labelled-pair", fits: (row) => has("label")(row) && pairKeys(row) !== null },
  { format: "labelled-text", fits: (row) => has("text", "label")(row) || has("sentence", "label")(row) },
  { format: "text", fits: has("text") },
];

const LABELLED: readonly Task[] = ["sequence-classification", "multi-label-classification", "regression"];

/** The formats that are read: their keys, for messages, and the tasks they can train (the first when none is named). */
const READ: Readonly<Record<Format, { readonly keys: string; readonly tasks: readonly Task[] }>> = {
  tokens: { keys: '{"input_ids", "labels"}', tasks: ["causal-lm", "masked-lm", "token-classification"] },
  "labelled-tokens": { keys: '{"input_ids", "label"}', tasks: LABELLED },
  "prompt-completion": { keys: '{"prompt", "completion"}', tasks: ["causal-lm"] },
  text: { keys: '{"text"}', tasks: ["causal-lm", "masked-lm"] },
  messages: { keys: '{"messages"}', tasks: ["causal-lm"] },
  "conversational-completion": { keys: '{"prompt", "completion"} of messages', tasks: ["causal-lm"] },
  sharegpt: { keys: '{"conversations"}', tasks: ["causal-lm"] },
  alpaca: { keys: '{"instruction", "output"}', tasks: ["causal-lm"] },
  segments: { keys: '{"segments"}', tasks: ["causal-lm"] },
  "labelled-text": { keys: '{"text" or "sentence", "label"}', tasks: LABELLED },
  "labelled-pair": {
    keys: '{"sentence1", "sentence2", "label"} (or "question1" and "question2", "question" and "sentence", "premise" and "hypothesis")',
    tasks: [...LABELLED, "sentence-similarity"],
  },
  "ranked-texts": { keys: '{"anchor", "positive"}', tasks: ["sentence-embedding"] },
  "scored-pair": { keys: '{"sentence1", "sentence2", "score"}', tasks: ["sentence-similarity"] },
  words: { keys: '{"tokens", "ner_tags" or "labels"}', tasks: ["token-classification"] },
  preference: { keys: '{"prompt", "chosen", "rejected"}', tasks: ["causal-lm"] },
  "conversational-preference": { keys: '{"prompt", "chosen", "rejected"} of messages', tasks: ["causal-lm"] },
  "openai-preference": { keys: '{"input", "preferred_output", "non_preferred_output"}', tasks: ["causal-lm"] },
  judged: { keys: '{"prompt", "completion", "label"}', tasks: ["causal-lm"] },
  "conversational-judged": { keys: '{"prompt", "completion", "label"} of messages', tasks: ["causal-lm"] },
};

/** The row's format. Throws a DataError that begins with `where` (file:line) for rows that are not read. */
export function formatOf(row: JsonObject, where: string): Format {
  const format = RULES.find((rule) => rule.fits(row))?.format;
  if (format !== undefined) return format;
  const keys = Object.keys(row)
    .map((key) => `"${key}"`)
    .join(", ");
  const tail = Object.values(READ)
    .map(({ keys: shape }) => shape)
    .join(", ");
  throw new DataError(`${where}: no known format has the keys {${keys}}. Read are ${tail}.`);
}

/** A format's keys, as messages show them. */
export function describe(format: Format): string {
  return READ[format].keys;
}

/**
 * The task of a file: the one asked for, which its format must be able to train, else what the rows suggest. Labelled
 * rows are regression when the label has a fraction, is a list of such or when the model has one output; other lists are
 * the labels that hold.
 */
export function taskOf(
  format: Format,
  row: JsonObject,
  asked: Task | undefined,
  labelCount: number | undefined,
  where: string,
): Task {
  const { tasks, keys } = READ[format];
  if (asked === undefined) {
    const label = row["label"];
    if (!tasks.includes("regression")) return tasks[0]!;
    const fraction = [label].flat().some((value) => typeof value === "number" && !Number.isInteger(value));
    if (fraction || (labelCount === 1 && typeof label === "number")) return "regression";
    return Array.isArray(label) ? "multi-label-classification" : tasks[0]!;
  }
  if (tasks.includes(asked)) return asked;
  const needed = Object.values(READ).filter((entry) => entry.tasks.includes(asked));
  throw new DataError(
    `${where}: rows of ${keys} cannot train the task ${asked}, which needs ${needed.map((entry) => entry.keys).join(" or ")}. ` +
      `These rows fit --task ${tasks.join(" or ")}.`,
  );
}

/** Whether the rows' targets are drawn when a step needs them: masked models hide tokens of plain text. */
export function drawsTargets(task: Task, format: Format): boolean {
  return task === "masked-lm" && format === "text";
}

/** Whether rows of the format go through the chat template. */
export function isChat(format: Format): boolean {
  return (
    ["messages", "sharegpt", "alpaca", "openai-preference"].includes(format) || format.startsWith("conversational-")
  );
}

/** What rows say of answers: which of two is better, whether one is good, or nothing. */
export function judgementOf(format: Format): "pairs" | "verdicts" | null {
  if (format.endsWith("preference")) return "pairs";
  return format.endsWith("judged") ? "verdicts" : null;
}
