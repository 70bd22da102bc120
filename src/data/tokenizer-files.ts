/**
 * The tokenizer of a Hugging Face folder as one `tokenizer.json` value, whichever files the folder has:
 * `tokenizer.json`; `vocab.json` + `merges.txt` (GPT-2 and RoBERTa); `vocab.txt` (BERT); a SentencePiece model.
 *
 * Source: transformers `models/{gpt2,roberta,bert}/tokenization_*.py`, which build the same from the older files.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FormatError } from "../errors.ts";
import { isObject, type JsonObject, readJsonObject } from "./json-values.ts";
import { sentencePieceTokenizer } from "./sentencepiece.ts";
import { readSentencePieceModel } from "./sentencepiece-model.ts";
import { SPECIAL_TOKEN_KEYS, tokenText } from "./special-tokens.ts";

export interface TokenizerFiles {
  /** The file that errors should name. */
  readonly path: string;
  /** As in `tokenizer.json`. */
  readonly json: JsonObject;
  /** `tokenizer_config.json`, with what `special_tokens_map.json` adds to it. */
  readonly config: JsonObject;
  /** The chat template's Jinja source: `chat_template.jinja`, else the default one of the configuration. */
  readonly chatTemplate: string | null;
}

/** Null when the folder holds no tokenizer; a FormatError for broken files. */
export function readTokenizerFiles(folder: string): TokenizerFiles | null {
  const config = {
    ...readJsonObject(join(folder, "special_tokens_map.json")),
    ...readJsonObject(join(folder, "tokenizer_config.json")),
  };
  const found = readVocabulary(folder, config);
  if (found === null) return null;
  const template = join(folder, "chat_template.jinja");
  const chatTemplate = existsSync(template) ? readFileSync(template, "utf8") : defaultTemplate(config["chat_template"]);
  return { ...found, config: { ...found.config, ...config }, chatTemplate };
}

type Vocabulary = Pick<TokenizerFiles, "path" | "json" | "config">;

function readVocabulary(folder: string, config: JsonObject): Vocabulary | null {
  const at = (name: string): string => join(folder, name);
  const json = readJsonObject(at("tokenizer.json"));
  if (json !== null) return { path: at("tokenizer.json"), json, config: {} };
  const vocabulary = readJsonObject(at("vocab.json"));
  if (vocabulary !== null && existsSync(at("merges.txt"))) {
    return byteLevel(at("vocab.json"), vocabulary, readFileSync(at("merges.txt"), "utf8"), config);
  }
  if (existsSync(at("vocab.txt"))) return wordPiece(at("vocab.txt"), readFileSync(at("vocab.txt"), "utf8"), config);
  const sentencePiece = ["tokenizer.model", "spm.model", "spiece.model", "sentencepiece.bpe.model"]
    .map(at)
    .find(existsSync);
  if (sentencePiece !== undefined) {
    const modelType = readJsonObject(at("config.json"))?.["model_type"];
    return {
      path: sentencePiece,
      ...sentencePieceTokenizer(
        readSentencePieceModel(sentencePiece),
        config,
        typeof modelType === "string" ? modelType : null,
      ),
    };
  }
  return null;
}

/** GPT-2's byte-level BPE; RoBERTa's when the vocabulary has `<s>` and `</s>`. */
function byteLevel(path: string, vocab: JsonObject, mergesText: string, config: JsonObject): Vocabulary {
  const lines = mergesText.split(/\r?\n/).filter((line, i) => line !== "" && !(i === 0 && line.startsWith("#version")));
  const merges = lines.map((line) => line.split(" "));
  const broken = merges.findIndex((pair) => pair.length !== 2);
  if (broken !== -1) {
    throw new FormatError(
      `${path.replace(/vocab\.json$/, "merges.txt")}: merge ${broken + 1} is "${lines[broken]}", two pieces with one space between them are needed.`,
    );
  }
  const roberta = "<s>" in vocab && "</s>" in vocab;
  const names = roberta
    ? {
        bos_token: "<s>",
        eos_token: "</s>",
        cls_token: "<s>",
        sep_token: "</s>",
        unk_token: "<unk>",
        pad_token: "<pad>",
        mask_token: "<mask>",
      }
    : { bos_token: "<|endoftext|>", eos_token: "<|endoftext|>", unk_token: "<|endoftext|>" };
  const prefix = config["add_prefix_space"] === true;
  const chosen = { ...names, ...config };
  const pairOf = (token: unknown): readonly [string, unknown] => [
    tokenText(token) ?? "",
    vocab[tokenText(token) ?? ""],
  ];
  const json = {
    added_tokens: specialTokens(vocab, chosen),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: prefix, trim_offsets: true, use_regex: true },
    post_processor: roberta
      ? { type: "RobertaProcessing", sep: pairOf(chosen.sep_token), cls: pairOf(chosen.cls_token) }
      : null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges },
  };
  return { path, json, config: names };
}

/** BERT's WordPiece: lower-cased unless `do_lower_case` is false. */
function wordPiece(path: string, text: string, config: JsonObject): Vocabulary {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines.at(-1) === "") lines.pop();
  const vocab: Record<string, number> = Object.fromEntries(lines.map((token, id) => [token, id]));
  const names = {
    unk_token: "[UNK]",
    sep_token: "[SEP]",
    pad_token: "[PAD]",
    cls_token: "[CLS]",
    mask_token: "[MASK]",
  };
  const chosen = { ...names, ...config };
  const pairOf = (token: unknown): readonly [string, unknown] => [
    tokenText(token) ?? "",
    vocab[tokenText(token) ?? ""],
  ];
  const json = {
    added_tokens: specialTokens(vocab, chosen),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: config["tokenize_chinese_chars"] !== false,
      strip_accents: config["strip_accents"] ?? null,
      lowercase: config["do_lower_case"] !== false,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", sep: pairOf(chosen.sep_token), cls: pairOf(chosen.cls_token) },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: tokenText(chosen.unk_token) ?? "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab,
    },
  };
  return { path, json, config: names };
}

/** Entries of `added_tokens` for the special tokens that the vocabulary has. `<mask>` takes the space before it along. */
function specialTokens(vocab: JsonObject, names: JsonObject): JsonObject[] {
  const contents = new Set(
    SPECIAL_TOKEN_KEYS.map((key) => tokenText(names[key])).filter((text) => text !== null && text in vocab),
  );
  return [...contents].map((content) => ({
    id: vocab[content ?? ""],
    content,
    special: true,
    normalized: false,
    single_word: false,
    lstrip:
      isObject(names["mask_token"]) &&
      tokenText(names["mask_token"]) === content &&
      names["mask_token"]["lstrip"] === true,
    rstrip: false,
  }));
}

/** `chat_template` is one template, or a list of named ones of which `default` is meant. */
function defaultTemplate(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value.filter(isObject).find((entry) => entry["name"] === "default");
  return typeof named?.["template"] === "string" ? named["template"] : null;
}
