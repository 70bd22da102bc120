/** The texts of a file of rows. */

import { DataError } from "../errors.ts";
import { readRows } from "./read-rows.ts";

/** `text` or `sentence` of every row. Throws DataError naming the line of a row that has neither. */
export function readTexts(file: string): string[] {
  return Array.from(readRows(file), ({ line, value }) => {
    const text = value["text"] ?? value["sentence"];
    if (typeof text === "string") return text;
    throw new DataError(`${file}:${line}: found no text, {"text"} or {"sentence"} is needed.`);
  });
}
