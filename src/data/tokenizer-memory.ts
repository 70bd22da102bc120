/**
 * What the npm tokenizer works out again for every occurrence of a word, remembered: no token changes. It writes each word
 * in its alphabet of bytes anew, and its own memory of merged words moves an entry at every look-up, which costs more
 * than the merging it saves.
 */

import type { Tokenizer } from "@huggingface/tokenizers";

/** Words remembered; then all are forgotten, which costs less than to know the oldest. */
const WORDS = 2 ** 16;

/** Longer ones come once. */
const LONGEST = 64;

/** The parts that are reached into, of which the package exports no types. */
interface ByteLevel {
  readonly byte_encoder: Readonly<Record<number, string>>;
  readonly use_regex: boolean;
  readonly add_prefix_space: boolean;
  readonly pattern: RegExp;
  pre_tokenize_text(text: string): string[];
}
interface Merging {
  cache?: { get(word: string): string[] | undefined; put(word: string, tokens: string[]): void; clear(): void };
}

export function rememberWords(npm: Tokenizer): void {
  const whole = npm.pre_tokenizer as unknown as
    | (Partial<ByteLevel> & { readonly tokenizers?: readonly unknown[] })
    | null;
  for (const part of [whole, ...(whole?.tokenizers ?? [])] as (Partial<ByteLevel> | null)[]) {
    if (part?.byte_encoder && typeof part.use_regex === "boolean") rememberBytes(part as ByteLevel);
  }
  const model = npm.model as unknown as Merging;
  if (!model.cache) return;
  const merged = new Map<string, string[]>();
  model.cache = {
    get: (word) => merged.get(word),
    put: (word, tokens) => {
      if (merged.size >= WORDS) merged.clear();
      merged.set(word, tokens);
    },
    clear: () => merged.clear(),
  };
}

function rememberBytes(part: ByteLevel): void {
  const utf8 = new TextEncoder();
  const known = new Map<string, string>();
  const spelled = (word: string): string => {
    const held = known.get(word);
    if (held !== undefined) return held;
    const letters = Array.from(utf8.encode(word), (byte) => part.byte_encoder[byte]).join("");
    if (word.length > LONGEST) return letters;
    if (known.size >= WORDS) known.clear();
    known.set(word, letters);
    return letters;
  };
  part.pre_tokenize_text = (text) => {
    const given = part.add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
    return (part.use_regex ? (given.match(part.pattern) ?? []) : [given]).map(spelled);
  };
}
