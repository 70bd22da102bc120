/** Grammars as trees: which texts are allowed, in terms of characters. */

/** From a code point to another, both included. */
export type CharacterRange = readonly [from: number, to: number];

export type GrammarNode =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "characters"; readonly ranges: readonly CharacterRange[] }
  | { readonly kind: "sequence"; readonly parts: readonly GrammarNode[] }
  | { readonly kind: "choice"; readonly parts: readonly GrammarNode[] }
  | { readonly kind: "repeat"; readonly part: GrammarNode; readonly least: number; readonly most: number }
  | { readonly kind: "rule"; readonly name: string };

export interface Grammar {
  readonly root: GrammarNode;
  /** What nodes refer to by name; rules may contain themselves. */
  readonly rules: ReadonlyMap<string, GrammarNode>;
}

export const LAST_CHARACTER = 0x10ffff;

export function text(of: string): GrammarNode {
  return { kind: "text", text: of };
}

export function sequence(...parts: readonly GrammarNode[]): GrammarNode {
  return parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
}

/** One of them; of none, nothing is allowed at all. */
export function choice(...parts: readonly GrammarNode[]): GrammarNode {
  return { kind: "choice", parts };
}

/** `most` may be Infinity. */
export function repeat(part: GrammarNode, least: number, most: number): GrammarNode {
  return { kind: "repeat", part, least, most };
}

export function optional(part: GrammarNode): GrammarNode {
  return repeat(part, 0, 1);
}

export function rule(name: string): GrammarNode {
  return { kind: "rule", name };
}

/** Characters as ranges of two ("az") or single ones ("_"). */
export function characters(...ranges: readonly string[]): GrammarNode {
  return { kind: "characters", ranges: ranges.map(rangeOf) };
}

function rangeOf(range: string): CharacterRange {
  const [from = "", to = from] = [...range];
  return [from.codePointAt(0)!, to.codePointAt(0)!];
}

/** Sorted, without overlaps. */
export function normalised(ranges: readonly CharacterRange[]): CharacterRange[] {
  const sorted = ranges.toSorted((a, b) => a[0] - b[0]);
  const out: CharacterRange[] = [];
  for (const [from, to] of sorted) {
    const last = out.at(-1);
    if (last && from <= last[1] + 1) out[out.length - 1] = [last[0], Math.max(last[1], to)];
    else out.push([from, to]);
  }
  return out;
}

/** All characters but these. */
export function complement(ranges: readonly CharacterRange[]): CharacterRange[] {
  const out: CharacterRange[] = [];
  let next = 0;
  for (const [from, to] of normalised(ranges)) {
    if (from > next) out.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= LAST_CHARACTER) out.push([next, LAST_CHARACTER]);
  return out;
}

/** Characters of both. */
export function intersection(a: readonly CharacterRange[], b: readonly CharacterRange[]): CharacterRange[] {
  return complement([...complement(a), ...complement(b)]);
}
