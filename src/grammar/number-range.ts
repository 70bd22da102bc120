/** Numbers between bounds, as texts. */

import { characters, choice, type GrammarNode, optional, repeat, sequence, text } from "./node.ts";

const DIGIT = characters("09");
/** Digits behind a decimal point. */
const FRACTION = 16;

export interface Bounds {
  /** Whole numbers, or infinite. */
  readonly least: number;
  readonly most: number;
}

/** Whole numbers from `least` to `most`. */
export function wholeBetween({ least, most }: Bounds): GrammarNode {
  return signed({ least, most }, wholeFrom);
}

/** Decimal numbers from `least` to `most`, or without these themselves. */
export function decimalBetween(
  bounds: Bounds,
  { withoutLeast, withoutMost }: { readonly withoutLeast: boolean; readonly withoutMost: boolean },
): GrammarNode {
  const { least, most } = bounds;
  const parts: GrammarNode[] = [];
  if (least < 0)
    parts.push(sequence(text("-"), decimalFrom(Math.max(0, -most), -least, most <= 0 && withoutMost, withoutLeast)));
  if (most >= 0) parts.push(decimalFrom(Math.max(0, least), most, least >= 0 && withoutLeast, withoutMost));
  return choice(...parts);
}

function signed({ least, most }: Bounds, between: (least: number, most: number) => GrammarNode): GrammarNode {
  const parts: GrammarNode[] = [];
  if (least < 0 && least <= most) parts.push(sequence(text("-"), between(Math.max(1, -most), -least)));
  if (most >= 0 && least <= most) parts.push(between(Math.max(0, least), most));
  return choice(...parts);
}

/** Decimals from 0 or more: the whole parts between, with any fraction, and the bounds by themselves. */
function decimalFrom(least: number, most: number, withoutLeast: boolean, withoutMost: boolean): GrammarNode {
  const fraction = sequence(text("."), repeat(DIGIT, 1, FRACTION));
  const zeros = sequence(text("."), repeat(text("0"), 1, FRACTION));
  const beyond = sequence(
    text("."),
    repeat(text("0"), 0, FRACTION - 1),
    characters("19"),
    repeat(DIGIT, 0, FRACTION - 1),
  );
  const parts: GrammarNode[] = [];
  if (least < most) {
    parts.push(sequence(text(String(least)), withoutLeast ? beyond : optional(fraction)));
    if (least + 1 < most) parts.push(sequence(wholeFrom(least + 1, most - 1), optional(fraction)));
  }
  if (Number.isFinite(most) && !withoutMost && !(least === most && withoutLeast)) {
    parts.push(sequence(text(String(most)), optional(zeros)));
  }
  return choice(...parts);
}

/** Whole numbers from 0 or more. */
function wholeFrom(least: number, most: number): GrammarNode {
  const high = Number.isFinite(most) ? most : 10 ** 16 - 1;
  const parts: GrammarNode[] = [];
  // Of each number of digits, the part of its numbers that lies between.
  for (let length = String(least).length; length <= String(high).length; length++) {
    const first = Math.max(least, length === 1 ? 0 : 10 ** (length - 1));
    const last = Math.min(high, 10 ** length - 1);
    if (first <= last) parts.push(sameLength(String(first), String(last)));
  }
  return choice(...parts);
}

/** Numbers between two of as many digits: where the first digit differs, what follows runs to the end of its block. */
function sameLength(low: string, high: string): GrammarNode {
  if (low === "") return text("");
  const [a, lowRest] = [Number(low[0]), low.slice(1)];
  const [b, highRest] = [Number(high[0]), high.slice(1)];
  if (a === b) return sequence(text(String(a)), sameLength(lowRest, highRest));
  const fromStart = /^0*$/.test(lowRest);
  const toEnd = /^9*$/.test(highRest);
  const first = fromStart ? a : a + 1;
  const last = toEnd ? b : b - 1;
  const parts: GrammarNode[] = [];
  if (!fromStart) parts.push(sequence(text(String(a)), sameLength(lowRest, "9".repeat(lowRest.length))));
  if (first <= last) {
    parts.push(sequence(characters(`${first}${last}`), repeat(DIGIT, lowRest.length, lowRest.length)));
  }
  if (!toEnd) parts.push(sequence(text(String(b)), sameLength("0".repeat(highRest.length), highRest)));
  return choice(...parts);
}
