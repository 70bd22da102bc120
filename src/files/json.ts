/**
 * A strict JSON reader for headers of untrusted files, with the verdicts of Rust's serde_json (safetensors' parser).
 * `JSON.parse` cannot serve: it keeps the last of two equal keys, rounds integers beyond 2^53 and has no depth limit.
 * Values are pulled one by one, so that skipped or hostile parts build nothing in memory.
 */

import { quoteName } from "./quote.ts";

export type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";

export interface JsonReader {
  /** What the next value is, without consuming it. */
  kind(): JsonKind;
  /** Consumes an object; `value` is called after each key and must consume its value. A repeated key fails. */
  object(value: (key: string) => void): void;
  /** Consumes an array; `item` is called before each item and must consume it. */
  array(item: (index: number) => void): void;
  string(): string;
  /** Consumes a number and returns its text as written, so that integers stay exact. */
  number(): string;
  /** Consumes any value, checking it fully. */
  skip(): void;
  /** Consumes any value, and returns its text as written. */
  raw(): string;
  /** Characters consumed so far. */
  readonly at: number;
  /** Fails unless only white space is left. */
  end(): void;
}

/** serde_json refuses the 128th open bracket. */
const DEPTH_LIMIT = 127;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** A reader at the start of `text`. `fail` throws; it is given what was found, where, and what was needed. */
export function jsonReader(text: string, fail: (problem: string) => never): JsonReader {
  let at = 0;
  let depth = 0;

  const code = (): number => text.charCodeAt(at); // NaN at the end
  const found = (): string =>
    at < text.length ? JSON.stringify(String.fromCodePoint(text.codePointAt(at)!)) : "the end";
  const refuse = (needed: string): never => fail(`found ${found()} at character ${at}, needed ${needed}`);

  function space(): void {
    for (let c = code(); c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = code()) at++;
  }

  function kind(): JsonKind {
    space();
    const c = text[at];
    if (c === "{") return "object";
    if (c === "[") return "array";
    if (c === '"') return "string";
    if (c === "-" || isDigit(code())) return "number";
    if (text.startsWith("null", at)) return "null";
    if (text.startsWith("true", at) || text.startsWith("false", at)) return "boolean";
    return refuse("a JSON value");
  }

  function expect(needed: JsonKind): void {
    const next = kind();
    if (next !== needed) fail(`found ${next} at character ${at}, needed ${needed}`);
  }

  /** The items between two brackets, with their commas. */
  function items(close: string, item: (index: number) => void): void {
    if (++depth > DEPTH_LIMIT) fail(`more than ${DEPTH_LIMIT} nested brackets at character ${at}`);
    at++;
    space();
    if (text[at] !== close) {
      for (let index = 0; ; index++) {
        item(index);
        space();
        if (text[at] === close) break;
        if (text[at] !== ",") refuse(`"," or "${close}"`);
        at++;
      }
    }
    at++;
    depth--;
  }

  function object(value: (key: string) => void): void {
    expect("object");
    const keys = new Set<string>();
    items("}", () => {
      space();
      const start = at;
      if (text[at] !== '"') refuse("a key in double quotes");
      const key = string();
      if (keys.has(key)) fail(`key ${quoteName(key)} appears again at character ${start}`);
      keys.add(key);
      space();
      if (text[at] !== ":") refuse('":"');
      at++;
      value(key);
    });
  }

  function array(item: (index: number) => void): void {
    expect("array");
    items("]", item);
  }

  function string(): string {
    expect("string");
    at++;
    let out = "";
    for (;;) {
      const start = at;
      for (let c = code(); c >= 0x20 && c !== 0x22 && c !== 0x5c; c = code()) at++;
      out += text.slice(start, at);
      if (text[at] === '"') break;
      if (text[at] !== "\\") refuse('a closing double quote (control characters are written as "\\u00XX")');
      out += escaped();
    }
    at++;
    return out;
  }

  function escaped(): string {
    const letter = text[at + 1] ?? "";
    const plain = ESCAPES[letter];
    if (plain !== undefined) {
      at += 2;
      return plain;
    }
    if (letter !== "u") refuse("a valid escape");
    const unit = hexUnit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    // Half a surrogate pair is no character: the other half must follow at once.
    if (unit > 0xdbff || !text.startsWith("\\u", at)) fail(`half a surrogate pair before character ${at}`);
    const low = hexUnit();
    if (low < 0xdc00 || low > 0xdfff) fail(`half a surrogate pair before character ${at}`);
    return String.fromCharCode(unit, low);
  }

  /** Consumes `\uXXXX`. */
  function hexUnit(): number {
    const digits = text.slice(at + 2, at + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) refuse("\\u and four hexadecimal digits");
    at += 6;
    return Number.parseInt(digits, 16);
  }

  function number(): string {
    expect("number");
    const start = at;
    if (text[at] === "-") at++;
    if (text[at] === "0") at++;
    else digits();
    if (text[at] === ".") {
      at++;
      digits();
    }
    if (text[at] === "e" || text[at] === "E") {
      at++;
      if (text[at] === "+" || text[at] === "-") at++;
      digits();
    }
    const written = text.slice(start, at);
    if (!Number.isFinite(Number(written))) fail(`the number at character ${start} is too large`);
    return written;
  }

  function digits(): void {
    if (!isDigit(code())) refuse("a digit");
    while (isDigit(code())) at++;
  }

  function skip(): void {
    const next = kind();
    if (next === "object") object(skip);
    else if (next === "array") array(skip);
    else if (next === "string") string();
    else if (next === "number") number();
    else at += text[at] === "f" ? 5 : 4; // null, true, false
  }

  function raw(): string {
    space();
    const start = at;
    skip();
    return text.slice(start, at);
  }

  function end(): void {
    space();
    if (at < text.length) refuse("the end");
  }

  return {
    kind,
    object,
    array,
    string,
    number,
    skip,
    raw,
    end,
    get at() {
      return at;
    },
  };
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
