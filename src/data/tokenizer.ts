/** The tokenizer of a Hugging Face folder, with transformers' ids: text to tokens and back. */

import { Tokenizer as NpmTokenizer } from "@huggingface/tokenizers";
import { FormatError, messageOf } from "../errors.ts";
import { isObject, type JsonObject } from "./json-values.ts";
import { charsmapNormalizer } from "./sentencepiece-charsmap.ts";
import { tokenText } from "./special-tokens.ts";
import { bytesOf, type Offsets, type TokenTexts, tokenOffsets } from "./token-offsets.ts";
import { readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files.ts";
import { rememberWords } from "./tokenizer-memory.ts";
import { repaired } from "./tokenizer-repairs.ts";
import { cleanUp, type TextStream, textStream } from "./tokenizer-stream.ts";
import { type Assembled, assemble, boundaryTemplate, type Template, templateOf } from "./tokenizer-template.ts";

export type { TextStream } from "./tokenizer-stream.ts";
export type { Assembled } from "./tokenizer-template.ts";

export interface Tokenizer {
  /** Token ids of a text; `special` adds what the model expects around it (BERT's [CLS] and [SEP], Llama's <s>). */
  encode(text: string, options: { special: boolean }): Int32Array;
  /** One text or two with special tokens and segments, cut to `limit` tokens as transformers' `truncation=True` does. */
  encodePair(a: string, b: string | null, limit?: number): Assembled;
  /** A text given as words, with special tokens: `words` holds each token's word, -1 for special tokens. */
  encodeWords(words: readonly string[], limit?: number): Assembled & { readonly words: Int32Array };
  /** Where the tokens of `encode(text, { special: false })` stand in the text; null where it cannot be told for sure. */
  offsets(text: string, ids: ArrayLike<number>): Offsets | null;
  /** The text of ids; unknown ids are left out. */
  decode(ids: Iterable<number>, options: { skipSpecial: boolean }): string;
  /** A decoder for ids that come one by one; its pieces joined are `decode` of all ids. Special ones that are `shown` stay. */
  stream(options?: { skipSpecial: boolean; shown?: ReadonlySet<number> }): TextStream;
  /** A token's bytes in a text; null for special and unknown ones. Null itself where the vocabulary does not tell them. */
  readonly bytesOf: ((id: number) => Uint8Array | null) | null;
  /** Id of a token by its exact text, or null. */
  idOf(token: string): number | null;
  /** eos_token; null when the files name none (`config.json` may). */
  readonly endId: number | null;
  readonly beginId: number | null;
  readonly padId: number | null;
  readonly maskId: number | null;
  readonly specialIds: ReadonlySet<number>;
  /** Jinja source, or null. */
  readonly chatTemplate: string | null;
  /** The largest id and one. The model's embedding may have more rows. */
  readonly vocabularySize: number;
  /** `tokenizer_config.json`. */
  readonly config: JsonObject;
}

/** The folder's tokenizer, or null when it has none. Throws a FormatError that names a broken or unsupported file. */
export function loadTokenizer(folder: string): Tokenizer | null {
  const files = readTokenizerFiles(folder);
  return files === null ? null : tokenizerOf(files);
}

function tokenizerOf({ path, json, config, chatTemplate }: TokenizerFiles): Tokenizer {
  const model = isObject(json["model"]) ? json["model"] : {};
  const added = addedTokens(json, config);
  const npm = npmTokenizer(path, { ...json, added_tokens: added }, model);
  const idOf = (token: string): number | null => npm.token_to_id(token) ?? null;
  const named = (key: string, ...otherwise: string[]): number | null => {
    const found = [tokenText(config[key]), ...otherwise].find((text) => text !== null && idOf(text) !== null);
    return found === undefined || found === null ? null : idOf(found);
  };
  const endId = named("eos_token");
  const beginId = named("bos_token");
  const template = chosenTemplate(json, config, path, beginId, endId);
  const specialIds = new Set(added.filter((token) => token["special"] === true).map((token) => Number(token["id"])));
  const addedIds = new Set(added.map((token) => Number(token["id"])));
  // transformers cleans up only what is not BPE.
  const cleansUp = config["clean_up_tokenization_spaces"] === true && model["type"] !== "BPE";
  const prefixesWords = JSON.stringify(json["pre_tokenizer"] ?? null).includes('"ByteLevel"');

  const texts: TokenTexts = {
    tokenOf: (id) => npm.id_to_token(id) ?? null,
    isAdded: (id) => addedIds.has(id),
    alphabet: alphabetOf(json),
  };

  const plain = (text: string): number[] => (text === "" ? [] : npm.encode(text, { add_special_tokens: false }).ids);
  const decodeRaw = (ids: readonly number[]): string => {
    const known = ids.filter((id) => npm.id_to_token(id) !== undefined);
    return known.length === 0
      ? ""
      : npm.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  };
  const encodePair = (a: string, b: string | null, limit = Number.POSITIVE_INFINITY): Assembled =>
    assemble(template, plain(a), b === null ? null : plain(b), limit);

  return {
    encode: (text, { special }) => (special ? encodePair(text, null).ids : Int32Array.from(plain(text))),
    encodePair,
    encodeWords(words, limit = Number.POSITIVE_INFINITY) {
      // Byte-level vocabularies tell a word's start by its space: each word stands as inside a sentence.
      const pieces = words.map((word) => plain(prefixesWords && !word.startsWith(" ") ? ` ${word}` : word));
      const wordOf = pieces.flatMap((piece, word) => piece.map(() => word));
      const assembled = assemble(template, pieces.flat(), null, limit);
      return { ...assembled, words: assembled.origin.map((at) => (at === -1 ? -1 : wordOf[at]!)) };
    },
    offsets: (text, ids) => tokenOffsets(text, ids, texts),
    bytesOf: texts.alphabet === "other" ? null : (id) => (specialIds.has(id) ? null : bytesOf(id, texts)),
    decode(ids, { skipSpecial }) {
      const shown = [...ids].filter((id) => !(skipSpecial && specialIds.has(id)));
      return cleansUp ? cleanUp(decodeRaw(shown)) : decodeRaw(shown);
    },
    stream: ({ skipSpecial, shown } = { skipSpecial: true }) =>
      textStream({ decode: decodeRaw, hidden: (id) => skipSpecial && specialIds.has(id) && !shown?.has(id), cleansUp }),
    idOf,
    endId,
    beginId,
    padId: named("pad_token", "[PAD]", "<pad>"),
    maskId: named("mask_token", "[MASK]", "<mask>"),
    specialIds,
    chatTemplate,
    vocabularySize: [...npm.get_vocab(true).values()].reduce((largest, id) => Math.max(largest, id), -1) + 1,
    config,
  };
}

function npmTokenizer(path: string, json: JsonObject, model: JsonObject): NpmTokenizer {
  if (model["vocab"] === undefined) throw new FormatError(`${path}: has no model.vocab. Download the file again.`);
  let npm: NpmTokenizer;
  try {
    npm = new NpmTokenizer(repaired(json), { unk_token: tokenText(model["unk_token"]) ?? undefined });
  } catch (error) {
    throw new FormatError(`${path}: this tokenizer cannot be read (${messageOf(error)}).`);
  }
  useCharsmaps(npm, path);
  rememberWords(npm);
  return npm;
}

/** The package approximates a Precompiled normalizer by NFKC; here its own map is applied. */
function useCharsmaps(npm: NpmTokenizer, path: string): void {
  // A sequence, since `repaired` writes nothing else; the package exports no types for its parts.
  const sequence = npm.normalizer as { readonly normalizers?: readonly unknown[] } | null;
  for (const part of (sequence?.normalizers ?? []) as { charsmap?: unknown; normalize: (text: string) => string }[]) {
    if (typeof part.charsmap !== "string" || part.charsmap === "") continue;
    part.normalize = charsmapNormalizer(Buffer.from(part.charsmap, "base64"), path);
  }
}

/** How the vocabulary writes bytes and spaces, by the decoder that undoes it. */
function alphabetOf(json: JsonObject): "bytes" | "sentence-piece" | "other" {
  const parts = JSON.stringify([json["pre_tokenizer"] ?? null, json["decoder"] ?? null]);
  if (parts.includes('"ByteLevel"')) return "bytes";
  return parts.includes("\u2581") || parts.includes('"Metaspace"') ? "sentence-piece" : "other";
}

/** `added_tokens`, with those that only the configuration's `added_tokens_decoder` lists. */
function addedTokens(json: JsonObject, config: JsonObject): JsonObject[] {
  const listed = Array.isArray(json["added_tokens"]) ? json["added_tokens"].filter(isObject) : [];
  const contents = new Set(listed.map((token) => token["content"]));
  const more = isObject(config["added_tokens_decoder"]) ? Object.entries(config["added_tokens_decoder"]) : [];
  const missing = more.flatMap(([id, token]) =>
    isObject(token) && !contents.has(token["content"]) ? [{ ...token, id: Number(id) }] : [],
  );
  return [...listed, ...missing];
}

function chosenTemplate(
  json: JsonObject,
  config: JsonObject,
  path: string,
  begin: number | null,
  end: number | null,
): Template {
  const { add_bos_token: addBegin, add_eos_token: addEnd } = config;
  const own = json["post_processor"];
  // BERT's and RoBERTa's classes set their own post-processor whatever the configuration says.
  const fixed = isObject(own) && (own["type"] === "BertProcessing" || own["type"] === "RobertaProcessing");
  if (fixed || (typeof addBegin !== "boolean" && typeof addEnd !== "boolean")) return templateOf(own, path);
  return boundaryTemplate(addBegin === true ? begin : null, addEnd === true ? end : null);
}
