/** JSON files of a checkpoint or of the user. */

import { readFileSync, statSync } from "node:fs";
import { FormatError, messageOf } from "../errors.ts";
import { ioError } from "./io-error.ts";

/** Bytes; the largest tokenizers' files have a tenth of that. */
const SIZE_LIMIT = 256 * 2 ** 20;

/**
 * The value in a JSON file. Takes what Python's `json` writes: a byte order mark, `Infinity` and `NaN` (read as null).
 * Throws FormatError with line and column when the text is not JSON or larger than `limit` bytes, LowrankError when the
 * file cannot be read.
 */
export function readJsonFile(path: string, limit: number = SIZE_LIMIT): unknown {
  return parseJson(readBytes(path, limit), path);
}

function parseJson(bytes: Uint8Array, path: string): unknown {
  const text = decoded(bytes, path);
  try {
    return JSON.parse(text);
  } catch (error) {
    const relaxed = withoutPythonNumbers(text);
    if (relaxed !== text) {
      try {
        return JSON.parse(relaxed);
      } catch {
        // The error of the text as it stands is the one to report.
      }
    }
    throw new FormatError(`${path}: not valid JSON${place(text, messageOf(error))}. Correct it or download it again.`);
  }
}

/** As `readJsonFile`, for a file that must hold an object. */
export function readJsonObject(path: string, limit: number = SIZE_LIMIT): Record<string, unknown> {
  return demandObject(readJsonFile(path, limit), path);
}

/** As `readJsonObject`, for a file in memory; `path` names it in messages. */
export function parseJsonObject(bytes: Uint8Array, path: string): Record<string, unknown> {
  return demandObject(parseJson(bytes, path), path);
}

function demandObject(value: unknown, path: string): Record<string, unknown> {
  if (isRecord(value)) return value;
  const found = Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`;
  throw new FormatError(`${path}: found ${found}, needed a JSON object. Correct it or download it again.`);
}

/** Whether a parsed value is a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readBytes(path: string, limit: number): Uint8Array {
  try {
    const status = statSync(path);
    if (!status.isFile()) throw new FormatError(`${path}: found a folder or device, needed a file. Check the path.`);
    if (status.size > limit) {
      throw new FormatError(
        `${path}: ${status.size} bytes, but a JSON file may have ${limit} here. Check that it is the right file.`,
      );
    }
    return readFileSync(path);
  } catch (error) {
    throw ioError("read", path, error);
  }
}

function decoded(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FormatError(`${path}: not valid UTF-8 text. Save it as UTF-8 or download it again.`);
  }
}

/** Python writes numbers that JSON lacks as bare words; 1e999 is how JSON spells a number that reads as Infinity. */
function withoutPythonNumbers(text: string): string {
  return text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|NaN|Infinity/g, (token) =>
    token === "NaN" ? "null" : token === "Infinity" ? "1e999" : token,
  );
}

/** ` (line 3, column 7: …)` from the parser's message, which counts characters from the start. */
function place(text: string, message: string): string {
  const position = /at position (\d+)/.exec(message);
  const end = position === null ? (/end of JSON input/.test(message) ? text.length : null) : Number(position[1]);
  const why = message.replace(/ ?(in JSON )?at position \d+.*$/s, "").slice(0, 120);
  if (end === null) return ` (${why})`;
  const lines = text.slice(0, end).split("\n");
  return ` (line ${lines.length}, column ${lines.at(-1)!.length + 1}: ${why})`;
}
