/**
 * Regular expressions as grammars: the part of ECMAScript's that describes regular languages. What looks around or back is
 * refused by name.
 */

import { UsageError } from "../errors.ts";
import {
  type CharacterRange,
  choice,
  complement,
  type GrammarNode,
  normalised,
  repeat,
  sequence,
  text,
} from "./node.ts";

export interface Pattern {
  readonly node: GrammarNode;
  /** Whether it must begin, and end, where the text does. */
  readonly fromStart: boolean;
  readonly toEnd: boolean;
}

const DIGITS: readonly CharacterRange[] = [[0x30, 0x39]];
const WORD: readonly CharacterRange[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const SPACES: readonly CharacterRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly CharacterRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, readonly CharacterRange[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACES,
  S: complement(SPACES),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, "0": 0x00 };

const LONGEST = 4096;

/** A group that is being read: alternatives that are complete, and the parts of the one at hand. */
interface Group {
  readonly alternatives: GrammarNode[];
  readonly parts: GrammarNode[];
}

function nodeOf({ alternatives, parts }: Group): GrammarNode {
  const last = sequence(...parts);
  return alternatives.length === 0 ? last : choice(...alternatives, last);
}

/** Throws UsageError for what is no pattern, or none of a regular language. */
export function parsePattern(source: string): Pattern {
  const letters = [...source];
  let at = 0;
  const refuse = (problem: string): never => {
    throw new UsageError(`The pattern ${JSON.stringify(source)}: ${problem} at character ${at}.`);
  };
  if (letters.length > LONGEST)
    throw new UsageError(`A pattern has ${letters.length} characters; at most ${LONGEST} are read.`);
  const fromStart = letters[0] === "^";
  const toEnd = letters.at(-1) === "$" && letters.at(-2) !== "\\";
  const end = toEnd ? letters.length - 1 : letters.length;
  if (fromStart) at++;

  const atom = (): GrammarNode => {
    const letter = letters[at++]!;
    if (letter === "[") return { kind: "characters", ranges: bracket() };
    if (letter === ".") return { kind: "characters", ranges: complement(LINE_ENDS) };
    if (letter === "\\") return { kind: "characters", ranges: escaped() };
    if (letter === "^" || letter === "$") refuse(`${letter} in the middle`);
    if ("*+?".includes(letter)) refuse(`${letter} with nothing to repeat`);
    return text(letter);
  };

  /** What may stand behind a group's parenthesis. */
  const groupKind = (): void => {
    const kind = /^\?(:|<[A-Za-z_]\w*>|[=!]|<[=!])?/.exec(letters.slice(at, at + 64).join(""));
    if (!kind) return;
    if (kind[1] === undefined || /[=!]/.test(kind[1])) refuse("a look around");
    at += kind[0].length;
  };

  const quantified = (part: GrammarNode): GrammarNode => {
    const letter = at < end ? letters[at] : undefined;
    let bounds: readonly [number, number] | null = null;
    if (letter === "*") bounds = [0, Number.POSITIVE_INFINITY];
    else if (letter === "+") bounds = [1, Number.POSITIVE_INFINITY];
    else if (letter === "?") bounds = [0, 1];
    if (bounds) at++;
    else if (letter === "{") {
      const found = /^\{(\d{1,5})(,(\d{0,5}))?\}/.exec(letters.slice(at, at + 16).join(""));
      if (!found) return refuse("a { that is no number of repetitions");
      const least = Number(found[1]);
      const most = found[2] === undefined ? least : found[3] === "" ? Number.POSITIVE_INFINITY : Number(found[3]);
      if (most < least) refuse("repetitions out of order");
      bounds = [least, most];
      at += found[0].length;
    }
    if (!bounds) return part;
    if (letters[at] === "?" && at < end) at++; // lazy ones allow the same texts
    return repeat(part, ...bounds);
  };

  const escaped = (): readonly CharacterRange[] => {
    const letter = letters[at++];
    if (letter === undefined || at > end) return refuse("nothing behind a backslash");
    const named = CLASSES[letter];
    if (named) return named;
    const control = CONTROLS[letter];
    if (control !== undefined) return [[control, control]];
    const digits = { x: /^[0-9a-fA-F]{2}/, u: /^(?:[0-9a-fA-F]{4}|\{[0-9a-fA-F]{1,6}\})/ }[letter];
    if (digits) {
      const found = digits.exec(letters.slice(at, at + 8).join(""))?.[0];
      if (!found) return refuse(`\\${letter} without its digits`);
      at += found.length;
      const code = Number.parseInt(found.replace(/[{}]/g, ""), 16);
      return [[code, code]];
    }
    if (/[A-Za-z1-9]/.test(letter)) refuse(`\\${letter}`);
    const code = letter.codePointAt(0)!;
    return [[code, code]];
  };

  const bracket = (): readonly CharacterRange[] => {
    const negated = letters[at] === "^";
    if (negated) at++;
    const ranges: CharacterRange[] = [];
    for (;;) {
      if (at >= end) refuse("a [ without its ]");
      if (letters[at] === "]") break;
      const low = member();
      if (letters[at] === "-" && letters[at + 1] !== "]" && at + 1 < end) {
        at++;
        const high = member();
        if (low.length !== 1 || high.length !== 1 || low[0]![0] > high[0]![0]) refuse("a range that is none");
        ranges.push([low[0]![0], high[0]![1]]);
      } else ranges.push(...low);
    }
    at++;
    return negated ? complement(ranges) : normalised(ranges);
  };

  const member = (): readonly CharacterRange[] => {
    const letter = letters[at++]!;
    if (letter === "\\") {
      if (letters[at] !== "b") return escaped();
      at++;
      return [[0x08, 0x08]];
    }
    const code = letter.codePointAt(0)!;
    return [[code, code]];
  };

  // Groups are kept in a list: calls for each would run out of stack at a depth that changes from run to run.
  const open: Group[] = [{ alternatives: [], parts: [] }];
  while (at < end) {
    const group = open.at(-1)!;
    const letter = letters[at];
    if (letter === "(") {
      at++;
      groupKind();
      open.push({ alternatives: [], parts: [] });
    } else if (letter === "|") {
      at++;
      group.alternatives.push(sequence(...group.parts.splice(0)));
    } else if (letter === ")") {
      if (open.length === 1) refuse(") without its beginning");
      at++;
      open.pop();
      open.at(-1)!.parts.push(quantified(nodeOf(group)));
    } else group.parts.push(quantified(atom()));
  }
  if (open.length > 1) refuse("a group without an end");
  const node = nodeOf(open[0]!);
  // "^a|b$" anchors each alternative at one side alone.
  if ((fromStart || toEnd) && open[0]!.alternatives.length > 0)
    refuse("alternatives beside ^ or $: put them into a group");
  return { node, fromStart, toEnd };
}
