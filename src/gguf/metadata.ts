/** Reading GGUF's metadata: typed values, and errors that name the key. */

import { FormatError } from "../errors.ts";
import type { GgufFile, GgufValue } from "../files/gguf.ts";

export interface Metadata {
  readonly path: string;
  /** A whole number above 0. */
  size(key: string, fallback?: number): number;
  number(key: string, fallback?: number): number;
  flag(key: string, fallback: boolean): boolean;
  text(key: string): string | null;
  /** A token's number; null when the key is absent. */
  token(key: string): number | null;
  texts(key: string): readonly string[];
  numbers(key: string): readonly number[];
  has(key: string): boolean;
}

export function readMetadata({ path, metadata }: Pick<GgufFile, "path" | "metadata">): Metadata {
  const fail = (key: string, needed: string): never => {
    const found = metadata.get(key);
    const shown = found === undefined ? "missing" : Array.isArray(found) ? "a list" : JSON.stringify(String(found));
    throw new FormatError(`${path}: ${key} is ${shown.slice(0, 80)}, needed ${needed}. Download the file again.`);
  };
  const number = (key: string, fallback?: number): number => {
    const value = metadata.get(key) ?? fallback;
    const plain = typeof value === "bigint" ? Number(value) : value;
    return typeof plain === "number" && Number.isFinite(plain) ? plain : fail(key, "a number");
  };
  const whole = (key: string, least: number, fallback?: number): number => {
    const value = number(key, fallback);
    return Number.isSafeInteger(value) && value >= least ? value : fail(key, `a whole number from ${least}`);
  };
  const list = <T extends GgufValue>(key: string, is: (value: GgufValue) => value is T, what: string): readonly T[] => {
    const value = metadata.get(key);
    return Array.isArray(value) && value.every(is) ? value : fail(key, `a list of ${what}`);
  };
  return {
    path,
    number,
    size: (key, fallback) => whole(key, 1, fallback),
    token: (key) => (metadata.has(key) ? whole(key, 0) : null),
    flag: (key, fallback) => {
      const value = metadata.get(key) ?? fallback;
      return typeof value === "boolean" ? value : fail(key, "true or false");
    },
    text: (key) => {
      const value = metadata.get(key) ?? null;
      return value === null || typeof value === "string" ? value : fail(key, "a text");
    },
    texts: (key) => list(key, (value) => typeof value === "string", "texts"),
    numbers: (key) => list(key, (value) => typeof value === "number", "numbers"),
    has: (key) => metadata.has(key),
  };
}
