/**
 * CLIP's tokenizer: byte-level pairs whose last letter of a word carries `</w>`, in texts of one fixed length.
 * Source: transformers `tokenization_clip.py`. Read from vocab.json and merges.txt, or from tokenizer.json.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { isRecord, readJsonObject } from "../files/json-file.ts";
import { readTextFile } from "../files/text-file.ts";
import { tokenText } from "./special-tokens.ts";

export interface ClipTokenizer {
  /** Tokens of a text with its begin and end, padded. */
  readonly length: number;
  /** Ids [length]: what does not fit is cut, and the end token stays. */
  encode(text: string): Int32Array;
  /** How many tokens a text has, begin and end counted: beyond `length`, the rest is not seen. */
  count(text: string): number;
}

interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** Rank of each pair, "first second". */
  readonly ranks: ReadonlyMap<string, number>;
}

const WORDS = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/giu;

/**
 * Opens a tokenizer's folder. `longest` is what the text encoder takes, `filling` the id that fills texts up; null: as the
 * folder says. Throws ModelError for what is missing.
 */
export function loadClipTokenizer(folder: string, longest: number, filling: number | null = null): ClipTokenizer {
  const { ids, ranks } = readVocabulary(folder);
  const config = { ...readIfThere(folder, "special_tokens_map.json"), ...readIfThere(folder, "tokenizer_config.json") };
  const special = (field: string, fallback: string): number => {
    const token = tokenText(config[field]) ?? fallback;
    const id = ids.get(token);
    if (id === undefined)
      throw new ModelError(`${folder}: ${field} ${JSON.stringify(token)} is not in the vocabulary.`);
    return id;
  };
  const begin = special("bos_token", "<|startoftext|>");
  const end = special("eos_token", "<|endoftext|>");
  const padding = filling ?? special("pad_token", "<|endoftext|>");
  const unknown = ids.get(tokenText(config["unk_token"]) ?? "<|endoftext|>") ?? end;
  const most = config["model_max_length"];
  const length = Math.min(longest, typeof most === "number" ? most : longest);

  const known = new Map<string, readonly number[]>();
  const wordIds = (word: string): readonly number[] => {
    const held = known.get(word);
    if (held) return held;
    const whole = ids.get(word);
    const found =
      /^<\|(start|end)oftext\|>$/.test(word) && whole !== undefined
        ? [whole]
        : mergedIds(word, { ids, ranks }, unknown);
    known.set(word, found);
    return found;
  };
  const tokens = (text: string): number[] =>
    [...text.normalize("NFC").replace(/\s+/g, " ").toLowerCase().matchAll(WORDS)].flatMap(([word]) => wordIds(word));
  return {
    length,
    count: (text) => tokens(text).length + 2,
    encode: (text) => {
      const inner = tokens(text).slice(0, length - 2);
      return Int32Array.from({ length }, (_, i) =>
        i === 0 ? begin : i <= inner.length ? inner[i - 1]! : i === inner.length + 1 ? end : padding,
      );
    },
  };
}

/** The pair of lowest rank is merged until none is known. */
function mergedIds(word: string, { ids, ranks }: Vocabulary, unknown: number): readonly number[] {
  const letters = Array.from(new TextEncoder().encode(word), (byte) => BYTE_LETTERS[byte]!);
  const parts = letters.map((letter, i) => (i === letters.length - 1 ? `${letter}</w>` : letter));
  for (;;) {
    let [best, at] = [Number.POSITIVE_INFINITY, -1];
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < best) [best, at] = [rank, i];
    }
    if (at < 0) return parts.map((part) => ids.get(part) ?? unknown);
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}

/** A printable letter for each byte, as GPT-2 has them: bytes without one take letters from 256 on. */
const BYTE_LETTERS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
})();

/** Throws ModelError for a folder without tokenizer files. */
export function readVocabulary(folder: string): Vocabulary {
  if (existsSync(join(folder, "vocab.json")) && existsSync(join(folder, "merges.txt"))) {
    const lines = readTextFile(join(folder, "merges.txt")).split(/\r?\n/);
    const pairs = lines.filter((line, i) => line !== "" && !(i === 0 && line.startsWith("#version")));
    return { ids: idMap(readJsonObject(join(folder, "vocab.json")), folder), ranks: rankMap(pairs) };
  }
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) {
    throw new ModelError(
      `${folder}: no vocab.json with merges.txt and no tokenizer.json. Copy the tokenizer's files into it.`,
    );
  }
  const model = readJsonObject(path)["model"];
  if (!isRecord(model) || !isRecord(model["vocab"]) || !Array.isArray(model["merges"])) {
    throw new ModelError(`${path}: its model has no vocab and merges, which CLIP's tokenizer needs.`);
  }
  const pairs = model["merges"].map((pair: unknown) => (Array.isArray(pair) ? pair.join(" ") : String(pair)));
  return { ids: idMap(model["vocab"], path), ranks: rankMap(pairs) };
}

function idMap(vocab: Readonly<Record<string, unknown>>, where: string): Map<string, number> {
  return new Map(
    Object.entries(vocab).map(([token, id]) => {
      if (typeof id !== "number") throw new ModelError(`${where}: token ${JSON.stringify(token)} has no number.`);
      return [token, id];
    }),
  );
}

function rankMap(pairs: readonly string[]): Map<string, number> {
  return new Map(pairs.map((pair, rank) => [pair, rank]));
}

function readIfThere(folder: string, file: string): Readonly<Record<string, unknown>> {
  return existsSync(join(folder, file)) ? readJsonObject(join(folder, file)) : {};
}
