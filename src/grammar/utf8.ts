/** Ranges of characters as ranges of the bytes of their UTF-8. */

import type { CharacterRange } from "./node.ts";

/** One range for each byte. */
export type ByteRanges = readonly (readonly [from: number, to: number])[];

/** Where the number of bytes changes, and the surrogates, which UTF-8 has not. */
const SPANS: readonly CharacterRange[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

/** Sequences of byte ranges that hold the range's characters, and nothing else. */
export function utf8Ranges([from, to]: CharacterRange): ByteRanges[] {
  return SPANS.flatMap(([first, last]) => {
    const low = Math.max(from, first);
    const high = Math.min(to, last);
    return low > high ? [] : split(bytesOf(low), bytesOf(high));
  });
}

function bytesOf(character: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(character))];
}

/** All sequences between two of one length: where the first byte differs, what follows runs to the end of its block. */
function split(low: readonly number[], high: readonly number[]): ByteRanges[] {
  const [a = 0, ...lowRest] = low;
  const [b = 0, ...highRest] = high;
  if (lowRest.length === 0) return [[[a, b]]];
  const within = (byte: number, from: readonly number[], to: readonly number[]): ByteRanges[] =>
    split(from, to).map((rest) => [[byte, byte], ...rest]);
  if (a === b) return within(a, lowRest, highRest);
  const least = lowRest.map(() => 0x80);
  const most = highRest.map(() => 0xbf);
  const fromStart = lowRest.every((byte) => byte === 0x80);
  const toEnd = highRest.every((byte) => byte === 0xbf);
  const first = fromStart ? a : a + 1;
  const last = toEnd ? b : b - 1;
  const middle: ByteRanges[] = first > last ? [] : [[[first, last], ...least.map((byte) => [byte, 0xbf] as const)]];
  return [...(fromStart ? [] : within(a, lowRest, most)), ...middle, ...(toEnd ? [] : within(b, least, highRest))];
}
