/** Small readings of parsed JSON, which is `unknown` until somebody has looked. */

import { existsSync, readFileSync } from "node:fs";
import { FormatError, messageOf } from "../errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What kind of JSON value it is, in words, for messages. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  switch (typeof value) {
    case "object":
      return "an object";
    case "string":
      return "a string";
    case "boolean":
      return "true or false";
    default:
      return `the number ${String(value)}`;
  }
}

/** The first `length` characters of a text, marked when there were more. */
export function snippet(text: string, length = 60): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

/** The object in a JSON file, or null when there is no such file; a FormatError when it holds anything else. */
export function readJsonObject(path: string): JsonObject | null {
  if (!existsSync(path)) return null;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8").replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new FormatError(`${path}: not valid JSON (${messageOf(error)}). Download the file again.`);
  }
  if (!isObject(value)) throw new FormatError(`${path}: holds ${kindOf(value)}, an object is needed.`);
  return value;
}
