/** Texts of grammars: whether one is, and random ones. */

import { automatonOf, type Position } from "../../src/grammar/automaton.ts";
import type { Grammar } from "../../src/grammar/node.ts";
import type { Random } from "../../src/tensor/random.ts";

export function holds(grammar: Grammar, text: string): boolean {
  let at: Position | null = automatonOf(grammar).start;
  for (const byte of new TextEncoder().encode(text)) at = at?.after(byte) ?? null;
  return at?.accepts ?? false;
}

/** Bytes that lead out of JSON's brackets and strings. */
const CLOSING = [...'"}]'].map((letter) => letter.charCodeAt(0));

/** A random text from a place on; beyond `length` bytes it goes for the end. Null when it does not find one. */
export function walk(start: Position, random: Random, length: number): string | null {
  let at = start;
  const bytes: number[] = [];
  while (bytes.length < 20 * length) {
    if (at.accepts && (!at.continues || random.uniform() < 0.3 || bytes.length > length)) {
      return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    }
    const possible = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => at.after(byte) !== null);
    const closing = possible.filter((byte) => CLOSING.includes(byte));
    const from = closing.length > 0 && (bytes.length > length || random.uniform() < 0.2) ? closing : possible;
    const byte = from[random.integer(from.length)]!;
    bytes.push(byte);
    at = at.after(byte)!;
  }
  return null;
}
