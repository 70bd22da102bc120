/**
 * JSON's own grammar (RFC 8259), with white space only where printers of JSON put it, and short: a model that is held to
 * a form it would not choose loses itself in white space otherwise.
 */

import {
  type CharacterRange,
  characters,
  choice,
  complement,
  type GrammarNode,
  intersection,
  optional,
  repeat,
  rule,
  sequence,
  text,
} from "./node.ts";

/** Digits of a number before its point, and behind it. */
const DIGITS = 15;
const FRACTION = 16;

export const SPACE: GrammarNode = rule("space");

/** Where brackets open and close and behind commas: a space, or a new line and an indentation. */
const SPACES: GrammarNode = choice(text(""), text(" "), sequence(text("\n"), repeat(characters(" ", "\t"), 0, 20)));

export const COMMA: GrammarNode = sequence(text(","), SPACE);

/** Characters that stand in strings as they are. */
const PLAIN: readonly CharacterRange[] = complement([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);

const HEX = characters("09", "af", "AF");

/** One character of a string, escaped or not. */
export const CHARACTER: GrammarNode = choice(
  { kind: "characters", ranges: PLAIN },
  sequence(
    text("\\"),
    choice(characters('"', "\\", "/", "b", "f", "n", "r", "t"), sequence(text("u"), repeat(HEX, 4, 4))),
  ),
);

export function quoted(inside: GrammarNode): GrammarNode {
  return sequence(text('"'), inside, text('"'));
}

export const DIGIT: GrammarNode = characters("09");
const INTEGER: GrammarNode = sequence(
  optional(text("-")),
  choice(text("0"), sequence(characters("19"), repeat(DIGIT, 0, DIGITS))),
);
const NUMBER: GrammarNode = sequence(
  INTEGER,
  optional(sequence(text("."), repeat(DIGIT, 1, FRACTION))),
  optional(sequence(characters("e", "E"), optional(characters("+", "-")), repeat(DIGIT, 1, 2))),
);

/** A list of `item`s between brackets, so many of them. */
export function listOf(item: GrammarNode, least: number, most: number): GrammarNode {
  const empty = sequence(text("["), SPACE, text("]"));
  if (most === 0) return empty;
  const more = repeat(sequence(COMMA, item), Math.max(0, least - 1), most - 1);
  const filled = sequence(text("["), SPACE, item, more, SPACE, text("]"));
  return least === 0 ? choice(empty, filled) : filled;
}

export function member(key: GrammarNode, value: GrammarNode): GrammarNode {
  return sequence(key, text(":"), optional(text(" ")), value);
}

export function objectOf(members: GrammarNode): GrammarNode {
  return sequence(text("{"), SPACE, members, text("}"));
}

/** Any number of members, and the white space behind them. */
export function membersOf(each: GrammarNode): GrammarNode {
  return choice(text(""), sequence(each, repeat(sequence(COMMA, each), 0, Number.POSITIVE_INFINITY), SPACE));
}

const STRING = rule("string");
const ANY = rule("any");

/** Rules that schemas build on. */
export const JSON_RULES: readonly (readonly [string, GrammarNode])[] = [
  ["space", SPACES],
  ["character", CHARACTER],
  ["string", quoted(repeat(rule("character"), 0, Number.POSITIVE_INFINITY))],
  ["object", objectOf(membersOf(member(STRING, ANY)))],
  ["list", listOf(ANY, 0, Number.POSITIVE_INFINITY)],
  ["integer", INTEGER],
  ["number", NUMBER],
  ["any", choice(STRING, rule("object"), rule("list"), rule("number"), text("true"), text("false"), text("null"))],
];

/** What stands between a string's quotes for texts of `node`: quotes, backslashes and control characters escaped. */
export function escaped(node: GrammarNode): GrammarNode {
  switch (node.kind) {
    case "text":
      return text(JSON.stringify(node.text).slice(1, -1));
    case "characters": {
      const special = intersection(node.ranges, complement(PLAIN)).flatMap(([from, to]) =>
        Array.from({ length: to - from + 1 }, (_, i) =>
          text(JSON.stringify(String.fromCharCode(from + i)).slice(1, -1)),
        ),
      );
      return choice({ kind: "characters", ranges: intersection(node.ranges, PLAIN) }, ...special);
    }
    case "sequence":
    case "choice":
      return { ...node, parts: node.parts.map(escaped) };
    case "repeat":
      return { ...node, part: escaped(node.part) };
    case "rule":
      return node;
  }
}

/** Strings without escapes that are none of `names`, with their quotes: keys beside those that have a meaning. */
export function otherString(names: readonly string[]): GrammarNode {
  const plain: GrammarNode = { kind: "characters", ranges: PLAIN };
  const rest = repeat(plain, 0, Number.POSITIVE_INFINITY);
  const beside = (endings: readonly (readonly string[])[]): GrammarNode => {
    const next = new Map<string, (readonly string[])[]>();
    for (const [first, ...behind] of endings)
      if (first !== undefined) next.set(first, [...(next.get(first) ?? []), behind]);
    const taken = [...next.keys()].map((letter): CharacterRange => [letter.codePointAt(0)!, letter.codePointAt(0)!]);
    const others: GrammarNode = { kind: "characters", ranges: intersection(PLAIN, complement(taken)) };
    return choice(
      ...(endings.some((letters) => letters.length === 0) ? [] : [text("")]),
      sequence(others, rest),
      ...[...next].map(([letter, behind]) => sequence(text(letter), beside(behind))),
    );
  };
  return quoted(beside(names.map((name) => [...name])));
}
