/** The parts of `tokenizer.json` that are made from a SentencePiece model: vocabulary, merges, normalisation, decoder. */

import { FormatError } from "../errors.ts";
import { type PieceMerge, possibleMerges } from "../files/sentencepiece-merges.ts";
import type { JsonObject } from "./json-values.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import { listedTokens, tokenText } from "./special-tokens.ts";

export type Vocabulary = readonly (readonly [token: string, score: number])[];

/** Stands for a space in pieces. */
export const MARK = "\u2581";

/** The pieces with the names that `added_tokens_decoder` gives their ids, unless another piece has that name. */
export function renamed(model: SentencePieceModel, config: JsonObject): Vocabulary {
  const names = new Map(listedTokens(config).map(({ id, token }) => [id, tokenText(token)]));
  const kept = new Set(model.pieces.flatMap(({ text }, id) => (names.has(id) ? [] : [text])));
  return model.pieces.map(({ text, score }, id) => {
    const name = model.algorithm === "bpe" ? names.get(id) : null;
    return [typeof name === "string" && !kept.has(name) ? name : text, score];
  });
}

export function scored(model: SentencePieceModel): Vocabulary {
  return model.pieces.map(({ text, score }) => [text, score]);
}

/** Merges in the order of the ids that they make, whatever the model's scores and kinds. */
export function bpe(tokens: Vocabulary, options: JsonObject): JsonObject {
  return bpeModel(tokens, possibleMerges(tokens.map(([token]) => token)), options);
}

/** Merges of the normal pieces, best score first. */
export function rankedBpe(model: SentencePieceModel, tokens: Vocabulary, options: JsonObject): JsonObject {
  const normal = tokens.map(([token], id) => (model.pieces[id]!.kind === "normal" ? token : null));
  const merges = possibleMerges(normal).sort((a, b) => tokens[b.id]![1] - tokens[a.id]![1]);
  return bpeModel(tokens, merges, options);
}

function bpeModel(tokens: Vocabulary, merges: readonly PieceMerge[], options: JsonObject): JsonObject {
  return {
    type: "BPE",
    unk_token: null,
    fuse_unk: true,
    ...options,
    vocab: Object.fromEntries(tokens.map(([token], id) => [token, id])),
    merges: merges.map(({ left, right }) => [left, right]),
  };
}

export function unigram({ path, algorithm }: SentencePieceModel, vocab: Vocabulary, unknown: number): JsonObject {
  if (algorithm !== "unigram") {
    throw new FormatError(
      `${path}: a SentencePiece model of the kind BPE, and this tokenizer class needs unigram. Correct tokenizer_class in tokenizer_config.json.`,
    );
  }
  return { type: "Unigram", unk_id: unknown, byte_fallback: false, vocab };
}

export function ownUnigram(model: SentencePieceModel, vocab: Vocabulary): JsonObject {
  if (!model.byteFallback) return unigram(model, vocab, model.unknownId);
  throw new FormatError(
    `${model.path}: a unigram SentencePiece model with byte_fallback, which is not read; without it, and BPE with it, are. Take the model's tokenizer.json.`,
  );
}

export function precompiled({ charsmap }: SentencePieceModel): JsonObject[] {
  if (charsmap === null) return [];
  return [{ type: "Precompiled", precompiled_charsmap: Buffer.from(charsmap).toString("base64") }];
}

export function metaspace(prepend_scheme: "always" | "first" | "never", split: boolean): JsonObject {
  return { type: "Metaspace", replacement: MARK, prepend_scheme, split };
}

export function bytesDecoder(prefixes: boolean): JsonObject {
  return {
    type: "Sequence",
    decoders: [
      replace({ String: MARK }, " "),
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(prefixes ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ],
  };
}

export function replace(pattern: JsonObject, content: string): JsonObject {
  return { type: "Replace", pattern, content };
}
