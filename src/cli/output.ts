/** Where words and numbers go: JSON alone on stdout with --json, people's output otherwise; progress on stderr. */

import { spelledNumbers } from "../files/atomic.ts";

export interface Output {
  readonly json: boolean;
  /** The result of a command: the object with --json, else the lines that `text` makes of it. */
  result(value: object, text: () => string): void;
  /** An event of long work: a line of JSON with --json, else nothing. */
  event(value: object): void;
  /** A line for people: stdout, or stderr with --json. */
  line(text: string): void;
  /** A line for people on stderr. */
  note(text: string): void;
  /** A line on stderr that the next one replaces; nothing where stderr is no terminal. */
  progress(text: string): void;
  /** Bold and dim, where colours are wanted. */
  readonly style: Style;
}

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
}

export interface Streams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function createOutput(json: boolean, { stdout, stderr, env }: Streams): Output {
  const live = stderr.isTTY === true;
  let shown = false; // a progress line stands on the terminal
  const clear = (): void => {
    if (shown) stderr.write("\r\x1b[2K");
    shown = false;
  };
  const write = (stream: NodeJS.WriteStream, text: string): void => {
    clear();
    stream.write(`${text}\n`);
  };
  const coloured = !env["NO_COLOR"] && (json ? live : stdout.isTTY === true);
  const style = (code: number) => (text: string) => (coloured ? `\x1b[${code}m${text}\x1b[0m` : text);
  return {
    json,
    result: (value, text) => write(stdout, json ? toJson(value) : text()),
    event: (value) => {
      if (json) write(stdout, toJson(value));
    },
    line: (text) => write(json ? stderr : stdout, text),
    note: (text) => write(stderr, text),
    progress: (text) => {
      if (!live) return;
      stderr.write(`\r\x1b[2K${text.slice(0, Math.max(20, (stderr.columns ?? 80) - 1))}`);
      shown = true;
    },
    style: { bold: style(1), dim: style(2) },
  };
}

/** JSON on one line; numbers that it lacks become "NaN", "Infinity" and "-Infinity". */
export function toJson(value: object): string {
  return JSON.stringify(value, spelledNumbers);
}

/** Rows in columns; numbers are aligned on the right. */
export function table(rows: readonly (readonly (string | number)[])[], indent = ""): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, String(cell).length);
    });
  return rows
    .map((row) => {
      const cells = row.map((cell, i) =>
        typeof cell === "number" ? String(cell).padStart(widths[i]!) : cell.padEnd(widths[i]!),
      );
      return (indent + cells.join("  ")).trimEnd();
    })
    .join("\n");
}
