/** Which tokens may come next, so that the text becomes one of a grammar. */

import { ModelError, UsageError } from "../errors.ts";
import { type Automaton, automatonOf, type Position } from "./automaton.ts";
import type { Grammar } from "./node.ts";
import { type TokenTrie, tokenTrie } from "./token-trie.ts";

/** What a grammar needs of a tokenizer. */
export interface Vocabulary {
  /** Tokens that the model scores. */
  readonly size: number;
  /** Bytes of a token in a text; null for special ones. */
  bytesOf(token: number): Uint8Array | null;
  /** Tokens that end a completion. */
  readonly ends: ReadonlySet<number>;
}

/** One completion's way through a grammar. */
export interface Guide {
  /** Sets the scores [V] of tokens that cannot come next to -Infinity. Throws ModelError when none can. */
  restrict(scores: Float32Array): void;
  /** Tells of the token that was chosen. */
  accept(token: number): void;
  /** Whether the text is whole, and nothing can follow. */
  readonly complete: boolean;
}

export interface Guides {
  /** Throws UsageError for a grammar that is too large. */
  begin(grammar: () => Grammar, key: string): Guide;
}

/** Grammars that are kept, places of each whose tokens are kept, and places beyond which one is begun anew. */
const KEPT = 8;
const MASKS = 64;
const PLACES = 20_000;

interface Compiled {
  readonly automaton: Automaton;
  /** Least recently used first. */
  readonly masks: Map<Position, Uint8Array>;
}

/** Throws UsageError for grammars that are too large, or nested too deep. */
function opened(grammar: () => Grammar): Automaton {
  try {
    return automatonOf(grammar());
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError("The schema or pattern is nested too deep. Ask for less.");
    throw error;
  }
}

export function createGuides({ size, bytesOf, ends }: Vocabulary): Guides {
  const kept = new Map<string, Compiled>(); // least recently used first
  let trie: TokenTrie | null = null;

  const maskOf = ({ masks }: Compiled, at: Position): Uint8Array => {
    const found = masks.get(at);
    masks.delete(at);
    const mask = found ?? new Uint8Array(size);
    if (!found) {
      trie ??= tokenTrie(size, bytesOf);
      trie.mark(at, mask);
      if (at.accepts) for (const end of ends) mask[end] = 1;
      if (masks.size >= MASKS) masks.delete(masks.keys().next().value!);
    }
    masks.set(at, mask);
    return mask;
  };

  return {
    begin(grammar, key) {
      const known = kept.get(key);
      kept.delete(key);
      const usable = known && known.automaton.known < PLACES;
      const compiled = usable ? known : { automaton: opened(grammar), masks: new Map() };
      if (kept.size >= KEPT) kept.delete(kept.keys().next().value!);
      kept.set(key, compiled);
      let at = compiled.automaton.start;
      return {
        get complete() {
          return at.accepts && !at.continues;
        },
        restrict(scores) {
          const mask = maskOf(compiled, at);
          if (!mask.includes(1)) {
            throw new ModelError(
              "No token of this model goes on with the text that was asked for. Ask for another form.",
            );
          }
          for (let token = 0; token < scores.length; token++) {
            if (mask[token] !== 1) scores[token] = Number.NEGATIVE_INFINITY;
          }
        },
        accept(token) {
          if (ends.has(token)) return;
          for (const byte of bytesOf(token) ?? []) {
            const next = at.after(byte);
            if (next === null) throw new Error("internal: a token was chosen that the grammar has not");
            at = next;
          }
        },
      };
    },
  };
}
