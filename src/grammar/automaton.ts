/**
 * Grammars as automata over bytes. A rule is called and returns, so that a position in a text is a set of stacks; sets
 * that are reached again are the same object, with what follows them known.
 */

import { UsageError } from "../errors.ts";
import type { Grammar, GrammarNode } from "./node.ts";
import { utf8Ranges } from "./utf8.ts";

/** A place in the texts of a grammar. */
export interface Position {
  /** Whether a text may end here. */
  readonly accepts: boolean;
  /** Whether one may go on. */
  readonly continues: boolean;
  /** The place behind a byte; null when none of the texts has it here. */
  after(byte: number): Position | null;
}

interface State {
  /** States that are the same place. */
  readonly same: number[];
  readonly bytes: { readonly from: number; readonly to: number; readonly next: number }[];
  readonly calls: { readonly start: number; readonly back: number }[];
  /** Whether a rule ends here. */
  ends: boolean;
}

/** A state, and where to return to from its rule. */
interface Stack {
  readonly state: number;
  readonly below: Stack | null;
  readonly id: number;
}

/** Beyond these a grammar is a mistake or an attack. */
const MOST_STATES = 100_000;
const MOST_STACKS = 2048;
const MOST_WORK = 50_000_000;

export interface Automaton {
  /** The place before the first byte. */
  readonly start: Position;
  /** Places known by now. */
  readonly known: number;
}

/** Throws UsageError for a grammar that is too large, or never gets to a byte. */
export function automatonOf(grammar: Grammar): Automaton {
  const { states, start } = compile(grammar);
  const stacks = new Map<string, Stack>();
  const positions = new Map<string, Position>();

  const stackOf = (state: number, below: Stack | null): Stack => {
    const key = `${state} ${below?.id ?? -1}`;
    const found = stacks.get(key) ?? { state, below, id: stacks.size };
    stacks.set(key, found);
    return found;
  };

  let work = 0;
  const spend = (steps: number): void => {
    work += steps;
    if (work > MOST_WORK) throw tooLarge();
  };

  /** What can be reached without a byte: stacks that wait for one, and whether the text may end. */
  const settled = (from: readonly Stack[]): Position => {
    const seen = new Set<Stack>();
    const waiting: Stack[] = [];
    const open = [...from];
    let accepts = false;
    for (let stack = open.pop(); stack; stack = open.pop()) {
      if (seen.has(stack)) continue;
      seen.add(stack);
      if (seen.size > MOST_STACKS) throw tooLarge();
      const { same, bytes, calls, ends } = states[stack.state]!;
      if (bytes.length > 0) waiting.push(stack);
      for (const state of same) open.push(stackOf(state, stack.below));
      for (const { start: called, back } of calls) open.push(stackOf(called, stackOf(back, stack.below)));
      if (ends && stack.below) open.push(stack.below);
      if (ends && !stack.below) accepts = true;
    }
    spend(seen.size);
    waiting.sort((a, b) => a.id - b.id);
    const key = `${accepts}:${waiting.map(({ id }) => id).join(",")}`;
    const found = positions.get(key) ?? position(waiting, accepts);
    positions.set(key, found);
    return found;
  };

  const position = (waiting: readonly Stack[], accepts: boolean): Position => {
    const known = new Array<Position | null | undefined>(256);
    return {
      accepts,
      continues: waiting.length > 0,
      after(byte) {
        const found = known[byte];
        if (found !== undefined) return found;
        spend(waiting.length);
        const next = waiting.flatMap(({ state, below }) =>
          states[state]!.bytes.filter(({ from, to }) => byte >= from && byte <= to).map((edge) =>
            stackOf(edge.next, below),
          ),
        );
        const after = next.length === 0 ? null : settled(next);
        known[byte] = after;
        return after;
      },
    };
  };

  const first = settled([stackOf(start, null)]);
  return {
    start: first,
    get known() {
      return positions.size;
    },
  };
}

function compile({ root, rules }: Grammar): { readonly states: readonly State[]; readonly start: number } {
  const states: State[] = [];
  const starts = new Map<string, number>();

  const add = (): number => {
    if (states.length >= MOST_STATES) throw tooLarge();
    return states.push({ same: [], bytes: [], calls: [], ends: false }) - 1;
  };
  const bytes = (from: number, ranges: readonly (readonly [number, number])[], to: number): void => {
    let at = from;
    for (const [i, [low, high]] of ranges.entries()) {
      const next = i === ranges.length - 1 ? to : add();
      states[at]!.bytes.push({ from: low, to: high, next });
      at = next;
    }
  };
  const startOfRule = (name: string): number => {
    const found = starts.get(name);
    if (found !== undefined) return found;
    const start = add();
    starts.set(name, start);
    const node = rules.get(name);
    if (!node) throw new Error(`internal: the grammar has no rule ${name}`);
    states[build(node, start)]!.ends = true;
    return start;
  };

  /** Adds the node's states behind `from`; the state behind it all is given back. */
  const build = (node: GrammarNode, from: number): number => {
    switch (node.kind) {
      case "text": {
        if (node.text === "") return from;
        const to = add();
        bytes(
          from,
          [...new TextEncoder().encode(node.text)].map((byte) => [byte, byte] as const),
          to,
        );
        return to;
      }
      case "characters": {
        const to = add();
        for (const range of node.ranges) for (const ranges of utf8Ranges(range)) bytes(from, ranges, to);
        return to;
      }
      case "sequence":
        return node.parts.reduce((at, part) => build(part, at), from);
      case "choice": {
        const to = add();
        for (const part of node.parts) {
          const start = add();
          states[from]!.same.push(start);
          states[build(part, start)]!.same.push(to);
        }
        return to;
      }
      case "repeat":
        return repeated(node, from);
      case "rule": {
        const back = add();
        states[from]!.calls.push({ start: startOfRule(node.name), back });
        return back;
      }
    }
  };

  const repeated = ({ part, least, most }: Extract<GrammarNode, { kind: "repeat" }>, from: number): number => {
    let at = from;
    for (let i = 0; i < least; i++) at = build(part, at);
    if (most === Number.POSITIVE_INFINITY) {
      const loop = add();
      states[at]!.same.push(loop);
      states[build(part, loop)]!.same.push(loop);
      return loop;
    }
    const to = add();
    for (let i = least; i < most; i++) {
      states[at]!.same.push(to);
      const start = add(); // a loop inside must not come back to where this one can be left
      states[at]!.same.push(start);
      at = build(part, start);
    }
    states[at]!.same.push(to);
    return to;
  };

  const start = add();
  states[build(root, start)]!.ends = true;
  return { states, start };
}

function tooLarge(): UsageError {
  return new UsageError("The schema or pattern is too large, or contains itself without an end. Ask for less.");
}
