/** Rows of a table of text: CSV or TSV with a header. */

import { CsvError, parse } from "csv-parse/sync";
import { DataError } from "../errors.ts";
import type { Row } from "./read-rows.ts";

/** Columns whose cells hold JSON lists or objects. */
const JSON_COLUMNS: ReadonlySet<string> = new Set(
  "messages conversations segments tools history input_ids labels tokens ner_tags prompt completion".split(" "),
);

/** Those of them that hold text as well: only lists of objects are JSON there. */
const TEXT_TOO: Readonly<Record<string, true>> = { prompt: true, completion: true };

/** Throws a DataError with the line for rows with other numbers of cells than the header, and for broken quotes. */
export function csvRows(text: string, file: string, delimiter: "," | "\t"): Row[] {
  try {
    const records = parse(text, {
      bom: true,
      columns: headerOf(file),
      delimiter,
      info: true,
      relax_quotes: true,
      skip_empty_lines: true,
    });
    return (records as unknown as { info: { lines: number }; record: Record<string, string> }[]).map(
      ({ info, record }) => ({
        line: info.lines,
        value: Object.fromEntries(Object.entries(record).map(([name, cell]) => [name, cellValue(name, cell)])),
      }),
    );
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const line = Number((error as { lines?: unknown }).lines ?? 1);
    throw new DataError(
      `${file}:${line}: not a row of the table (${error.message}). Give each row as many cells as the header, and put cells with commas, quotes or line breaks in double quotes.`,
    );
  }
}

function headerOf(file: string): (names: string[]) => string[] {
  return (names) => {
    const repeated = names.find((name, i) => names.indexOf(name) !== i);
    if (repeated !== undefined) throw new DataError(`${file}:1: the header names "${repeated}" twice. Rename one.`);
    return names.map((name) => name.trim());
  };
}

/** Cells are text; numbers where labels stand, and JSON where lists do. */
function cellValue(name: string, cell: string): unknown {
  if (name === "label" && /^[-+]?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(cell.trim())) return Number(cell);
  if (name === "label" && cell === "") return null;
  if (JSON_COLUMNS.has(name) && (name in TEXT_TOO ? /^\s*\[\s*\{/ : /^\s*[[{]/).test(cell)) {
    try {
      return JSON.parse(cell);
    } catch {
      return cell; // text that happens to begin so
    }
  }
  return cell;
}
