/** Flags: a typed table a command, read from the command line with `--config` files below them. */

import { parseArgs } from "node:util";
import { UsageError } from "../errors.ts";
import { nearest } from "./nearest.ts";

interface FlagText {
  /** One line of help. */
  readonly help: string;
  /** What stands for the value in help: FILE, N. */
  readonly value?: string;
  readonly required?: boolean;
  /** Default as help shows it, where the command's `defaults` do not say. */
  readonly shown?: string;
  /** The only values that are taken. */
  readonly choices?: readonly string[];
}

/** How a flag is read, by `type`: the key is the name, the value what the command gets. */
interface FlagValues {
  string: string;
  number: number;
  integer: number;
  /** `--name` or `--no-name`. */
  boolean: boolean;
  /** Names between commas, or several arguments. */
  list: readonly string[];
  /** One a use of the flag. */
  repeated: readonly string[];
  /** Numbers between commas, or several arguments. */
  numbers: readonly number[];
  /** A JSON object. */
  json: Readonly<Record<string, unknown>>;
  /** `--name` is true, `--name VALUE` the text. */
  optional: string | true;
}

export type FlagType = keyof FlagValues;

export interface Flag extends FlagText {
  readonly type: FlagType;
}

/** The flags of a command by their camelCase names. */
export type FlagTable = Readonly<Record<string, Flag>>;

/** What a command gets: required flags always, others when given. */
export type FlagsOf<T extends FlagTable> = {
  readonly [K in keyof T as T[K] extends { readonly required: true } ? K : never]: FlagValues[T[K]["type"]];
} & {
  readonly [K in keyof T as T[K] extends { readonly required: true } ? never : K]?: FlagValues[T[K]["type"]];
};

/** Flags that every command has. */
export const COMMON_FLAGS: FlagTable = {
  json: { type: "boolean", help: "Machine-readable output: JSON on stdout, nothing else there" },
  config: { type: "string", value: "FILE", help: "YAML or JSON file of these flags in camelCase; flags win" },
  debug: { type: "boolean", help: "Show stack traces of errors" },
  help: { type: "boolean", help: "Show this help" },
};

export interface ReadFlags {
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
}

/** Reads arguments by a table. Throws UsageError for unknown flags (with the nearest name) and impossible values. */
export function readFlags(args: readonly string[], table: FlagTable): ReadFlags {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, { type }]) => [
      kebab(name),
      { type: type === "boolean" || type === "optional" ? ("boolean" as const) : ("string" as const) },
    ]),
  );
  const { tokens } = parseArgs({
    args: gathered(args, table),
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const { name, flag, negated } = findFlag(token.name, token.rawName, table);
    const where = `--${kebab(name)}`;
    if (flag.type === "boolean") {
      values[name] = booleanValue(token.value, negated, where);
    } else if (negated) {
      throw new UsageError(`${token.rawName}: ${where} takes a value and cannot be negated.`);
    } else if (flag.type === "optional") {
      values[name] = token.value ?? true;
    } else {
      if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))) {
        throw new UsageError(`${where} needs a value${flag.value ? ` (${flag.value})` : ""}: ${flag.help}.`);
      }
      const value = parseText(token.value, flag, where);
      const several = flag.type === "repeated" && Array.isArray(values[name]);
      values[name] = several ? [...(values[name] as unknown[]), ...(value as unknown[])] : value;
    }
  }
  return { values, positionals };
}

/** Checks the values of a configuration file against the table. */
export function readConfigValues(
  given: Readonly<Record<string, unknown>>,
  table: FlagTable,
  path: string,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || key === "$schema") continue;
    const positive = /^no[A-Z]/.test(key) ? key.charAt(2).toLowerCase() + key.slice(3) : key;
    const name = Object.hasOwn(table, key) ? key : table[positive]?.type === "boolean" ? positive : undefined;
    if (name === undefined) throw new UsageError(`${path}: ${key} is no option.${suggestion(key, Object.keys(table))}`);
    const where = `${path}: ${key}`;
    const flag = table[name]!;
    if (flag.type === "boolean") {
      if (typeof value !== "boolean")
        throw new UsageError(`${where}: found ${JSON.stringify(value)}, needed true or false.`);
      values[name] = name === key ? value : !value;
    } else values[name] = configValue(value, flag, where);
  }
  return values;
}

/** Throws UsageError naming every required flag that is missing. */
export function demandFlags(values: Readonly<Record<string, unknown>>, table: FlagTable, command: string): void {
  const missing = Object.entries(table).filter(([name, { required }]) => required && values[name] === undefined);
  if (missing.length === 0) return;
  const names = missing.map(([name, { value }]) => `--${kebab(name)}${value ? ` ${value}` : ""}`).join(", ");
  throw new UsageError(`lowrank ${command} needs ${names}. See lowrank ${command} --help.`);
}

/** "maxSteps" → "max-steps" */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** " Did you mean X?" or nothing. */
export function suggestion(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return near === null ? "" : ` Did you mean ${near}?`;
}

/** Joins several arguments of one list flag, and the value of an optional one, as `--name=a,b`. */
function gathered(args: readonly string[], table: FlagTable): string[] {
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return [...out, ...args.slice(i)];
    const flag = arg.startsWith("--") && !arg.includes("=") ? table[camel(arg.slice(2))] : undefined;
    const values: string[] = [];
    const takes = (next: string | undefined): boolean => {
      if (next === undefined) return false;
      if (flag?.type === "list") return !next.startsWith("-");
      if (flag?.type === "numbers") return next !== "" && !Number.isNaN(Number(next.split(",")[0]));
      return flag?.type === "optional" && values.length === 0 && !next.startsWith("-");
    };
    while (takes(args[i + 1])) values.push(args[++i]!);
    out.push(values.length === 0 ? arg : `${arg}=${values.join(",")}`);
  }
  return out;
}

function findFlag(spelled: string, raw: string, table: FlagTable): { name: string; flag: Flag; negated: boolean } {
  const name = camel(spelled);
  if (raw.startsWith("--") && Object.hasOwn(table, name)) return { name, flag: table[name]!, negated: false };
  const positive = camel(spelled.replace(/^no-/, ""));
  if (spelled.startsWith("no-") && Object.hasOwn(table, positive)) {
    return { name: positive, flag: table[positive]!, negated: true };
  }
  const known = Object.entries(table).map(([each, { type, shown }]) =>
    type === "boolean" && shown === "on" ? `--no-${kebab(each)}` : `--${kebab(each)}`,
  );
  throw new UsageError(`${raw} is no option.${suggestion(raw, known)}`);
}

function booleanValue(text: string | undefined, negated: boolean, where: string): boolean {
  if (text === undefined) return !negated;
  if (text === "true" || text === "false") return (text === "true") !== negated;
  throw new UsageError(`${where}: found ${JSON.stringify(text)}, needed true or false, or no value.`);
}

function parseText(text: string, flag: Flag, where: string): unknown {
  switch (flag.type) {
    case "list":
      return text
        .split(",")
        .map((each) => each.trim())
        .filter((each) => each !== "");
    case "repeated":
      return [text];
    case "numbers":
      return text
        .split(/[\s,]+/)
        .filter((each) => each !== "")
        .map((each) => toNumber(each, false, where));
    case "number":
    case "integer":
      return toNumber(text, flag.type === "integer", where);
    case "json":
      try {
        return object(JSON.parse(text), where);
      } catch (error) {
        if (error instanceof UsageError) throw error;
        throw new UsageError(`${where}: found ${text}, needed a JSON object like '{"name": 4}'.`);
      }
    default:
      return chosen(text, flag, where);
  }
}

function configValue(value: unknown, flag: Flag, where: string): unknown {
  switch (flag.type) {
    case "list":
    case "repeated":
      return Array.isArray(value) ? value.map(String) : parseText(String(value), flag, where);
    case "numbers":
      return Array.isArray(value)
        ? value.map((each) => toNumber(each, false, where))
        : parseText(String(value), flag, where);
    case "number":
    case "integer":
      return toNumber(value, flag.type === "integer", where);
    case "json":
      return object(value, where);
    case "optional":
      return typeof value === "boolean" ? value || undefined : String(value);
    default:
      return chosen(String(value), flag, where);
  }
}

function toNumber(value: unknown, whole: boolean, where: string): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isFinite(number) && (!whole || Number.isSafeInteger(number))) return number;
  throw new UsageError(`${where}: found ${JSON.stringify(value)}, needed a ${whole ? "whole " : ""}number.`);
}

function object(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new UsageError(`${where}: found ${JSON.stringify(value)}, needed an object.`);
}

function chosen(text: string, { choices }: Flag, where: string): string {
  if (!choices || choices.includes(text)) return text;
  throw new UsageError(`${where}: found ${text}, needed one of ${choices.join(", ")}.${suggestion(text, choices)}`);
}
