/**
 * Rows of preferences: a prompt with a better and a worse answer, in TRL's shapes (text or messages, with the prompt or
 * with whole dialogs that begin alike) and OpenAI's; and TRL's rows of one answer judged good or bad (KTO). All become
 * rows of prompt and completion.
 *
 * Source: TRL `data_utils.py` (extract_prompt); OpenAI's guide to direct preference optimization.
 */

import { DataError } from "../errors.ts";
import { isObject, type JsonObject, kindOf } from "./json-values.ts";

export type PreferenceFormat = "preference" | "conversational-preference" | "openai-preference";

export interface Sides {
  /** Rows of {"prompt", "completion"}, of text or of messages as the format is. */
  readonly chosen: JsonObject;
  readonly rejected: JsonObject;
}

/** Throws a DataError that begins with `where` for answers that are alike or of the wrong kind. */
export function sidesOf(row: JsonObject, format: PreferenceFormat, where: string): Sides {
  const { input } = row;
  if (format === "openai-preference") {
    if (!isObject(input)) throw new DataError(`${where}: "input" is ${kindOf(input)}, {"messages"} is needed.`);
    const { messages, ...rest } = input; // tools, parallel_tool_calls
    return sides(rest, messages, row["preferred_output"], row["non_preferred_output"], where);
  }
  const { prompt, chosen, rejected, ...rest } = row;
  if (prompt !== undefined && prompt !== null) return sides(rest, prompt, chosen, rejected, where);
  if (format === "preference") {
    const [better, worse] = [text(chosen, "chosen", where), text(rejected, "rejected", where)];
    let shared = 0;
    while (shared < Math.min(better.length, worse.length) && better[shared] === worse[shared]) shared++;
    if (better[shared - 1] === " ") shared--; // the space belongs to the word behind it
    return sides(rest, better.slice(0, shared), better.slice(shared), worse.slice(shared), where);
  }
  const [better, worse] = [list(chosen, "chosen", where), list(rejected, "rejected", where)];
  let shared = 0;
  while (shared < Math.min(better.length, worse.length) && alike(better[shared], worse[shared])) shared++;
  return sides(rest, better.slice(0, shared), better.slice(shared), worse.slice(shared), where);
}

/** Whether the answer of a KTO row is a good one. */
export function verdict(value: unknown, where: string): boolean {
  if (typeof value === "boolean") return value;
  if (value === 0 || value === 1) return value === 1;
  throw new DataError(`${where}: the label is ${kindOf(value)}, true (a good answer) or false is needed.`);
}

function sides(rest: JsonObject, prompt: unknown, chosen: unknown, rejected: unknown, where: string): Sides {
  if (alike(chosen, rejected)) {
    throw new DataError(
      `${where}: the chosen and the rejected answer are the same, so nothing is preferred. Remove the row.`,
    );
  }
  return { chosen: { ...rest, prompt, completion: chosen }, rejected: { ...rest, prompt, completion: rejected } };
}

function alike(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function text(value: unknown, key: string, where: string): string {
  if (typeof value === "string") return value;
  throw new DataError(`${where}: "${key}" is ${kindOf(value)}, text is needed.`);
}

function list(value: unknown, key: string, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new DataError(`${where}: "${key}" is ${kindOf(value)}, a list of messages is needed.`);
}
