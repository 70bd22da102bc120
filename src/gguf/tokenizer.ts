/**
 * The tokenizer in a GGUF file's metadata as the files of a Hugging Face folder.
 * Sources: llama.cpp `src/llama-vocab.cpp` (kinds of pre-tokenizers, their expressions); transformers
 * `convert_slow_tokenizer.py` (SentencePiece's BPE in tokenizer.json).
 */

import { isDeepStrictEqual } from "node:util";
import { FormatError } from "../errors.ts";
import { possibleMerges } from "../files/sentencepiece-merges.ts";
import type { Metadata } from "./metadata.ts";

export interface TokenizerParts {
  /** tokenizer.json */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json */
  readonly config: Readonly<Record<string, unknown>>;
  readonly chatTemplate: string | null;
}

/** Kinds of tokens in `tokenizer.ggml.token_type`. */
const [UNKNOWN, CONTROL, USER_DEFINED] = [2, 3, 4];

/** Null when the file holds no tokenizer. Throws FormatError for kinds that are not known. */
export function readGgufTokenizer(metadata: Metadata): TokenizerParts | null {
  const model = metadata.text("tokenizer.ggml.model");
  if (model === null) return null;
  if (model !== "gpt2" && model !== "llama") {
    throw new FormatError(
      `${metadata.path}: tokenizer.ggml.model ${JSON.stringify(model)} is not read; read are "gpt2" and "llama". Take the model's safetensors files and tokenizer.json instead.`,
    );
  }
  const tokens = metadata.texts("tokenizer.ggml.tokens");
  const types = metadata.has("tokenizer.ggml.token_type") ? metadata.numbers("tokenizer.ggml.token_type") : [];
  const pre = metadata.text("tokenizer.ggml.pre") ?? "default";
  const begins = metadata.flag("tokenizer.ggml.add_bos_token", model === "llama" || LLAMA3.includes(pre));
  const ends = metadata.flag("tokenizer.ggml.add_eos_token", false);
  const named = (key: string): string | null => {
    const id = metadata.token(`tokenizer.ggml.${key}_token_id`);
    if (id === null || id < tokens.length) return id === null ? null : tokens[id]!;
    throw new FormatError(`${metadata.path}: tokenizer.ggml.${key}_token_id is ${id} of ${tokens.length} tokens.`);
  };
  const [bos, eos] = [named("bos"), named("eos")];
  const around = { bos: begins ? bos : null, eos: ends ? eos : null };
  const parts = model === "gpt2" ? byteLevel(metadata, pre, tokens) : sentencePiece(metadata, tokens);
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens, types),
    ...parts,
    post_processor: template(around, (token) => tokens.indexOf(token), parts.post_processor),
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    model_max_length: metadata.size(`${metadata.text("general.architecture")}.context_length`, 1_000_000),
    ...definedOnly({ bos_token: bos, eos_token: eos, unk_token: named("unknown"), pad_token: named("padding") }),
  };
  return { tokenizer, config, chatTemplate: metadata.text("tokenizer.chat_template") };
}

function definedOnly(texts: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== null));
}

function addedTokens(tokens: readonly string[], types: readonly number[]): unknown[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== UNKNOWN && type !== CONTROL && type !== USER_DEFINED) return [];
    const special = type !== USER_DEFINED;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

type Parts = Readonly<Record<"normalizer" | "pre_tokenizer" | "decoder" | "model", unknown>> & {
  readonly post_processor: unknown;
};

const LLAMA3 = ["llama-bpe", "llama3", "llama-v3"];
/** Pre-tokenizers by `tokenizer.ggml.pre`. */
const GPT2 = ["gpt-2", "phi-2", "olmo", "mpt", "default"];
const DIGITS = ["smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"];
const QWEN2 = ["qwen2", "deepseek-r1-qwen"];

/** Words as Llama 3 and Qwen 2 cut them; `digits` says how many of a number stay together. */
function words(digits: string): string {
  return `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
}

/** Pre-tokenizers of tokenizer.json with the names that stand for each, the commonest first. */
function preTokenizers(): readonly (readonly [names: readonly string[], json: unknown])[] {
  const cut = (digits: string): unknown => ({
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: words(digits) }, behavior: "Isolated", invert: false },
      { ...BYTES, use_regex: false },
    ],
  });
  return [
    [GPT2, PLAIN],
    [DIGITS, { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, PLAIN] }],
    [LLAMA3, cut("{1,3}")],
    [QWEN2, cut("")],
  ];
}

const BYTES = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true } as const;
const PLAIN = { ...BYTES, use_regex: true } as const;

/** The `tokenizer.ggml.pre` of a tokenizer.json. Throws FormatError for one that has no name here. */
export function preTokenizerName(path: string, { pre_tokenizer }: Readonly<Record<string, unknown>>): string {
  // Offsets are not compared: they change no token.
  const plain = (json: unknown): unknown =>
    JSON.parse(JSON.stringify(json ?? null, (key, value: unknown) => (key === "trim_offsets" ? undefined : value)));
  const found = preTokenizers().find(([, json]) => isDeepStrictEqual(plain(json), plain(pre_tokenizer)));
  if (found) return found[0][0]!;
  throw new FormatError(
    `${path}: its pre_tokenizer is none that GGUF has a name for here. Use --out DIR and llama.cpp's convert_hf_to_gguf.py.`,
  );
}

function byteLevel(metadata: Metadata, pre: string, tokens: readonly string[]): Parts {
  const kinds = preTokenizers();
  const found = kinds.find(([names]) => names.includes(pre));
  if (!found) {
    throw new FormatError(
      `${metadata.path}: tokenizer.ggml.pre ${JSON.stringify(pre)} is not known; known are ${kinds.flatMap(([names]) => names).join(", ")}. Take the model's tokenizer.json instead.`,
    );
  }
  const merges = metadata.texts("tokenizer.ggml.merges").map((line, i) => {
    const at = line.indexOf(" ", 1);
    if (at > 0 && at < line.length - 1) return [line.slice(0, at), line.slice(at + 1)];
    throw new FormatError(
      `${metadata.path}: merge ${i + 1} is ${JSON.stringify(line.slice(0, 40))}, needed two pieces.`,
    );
  });
  return {
    normalizer: QWEN2.includes(pre) ? { type: "NFC" } : null,
    pre_tokenizer: found[1],
    decoder: { ...PLAIN, add_prefix_space: true },
    post_processor: PLAIN,
    model: bpe(tokens, merges, { ignore_merges: LLAMA3.includes(pre) }),
  };
}

/** SentencePiece's BPE: spaces are ▁, unknown characters bytes. */
function sentencePiece(metadata: Metadata, tokens: readonly string[]): Parts {
  const prefixed = metadata.flag("tokenizer.ggml.add_space_prefix", true);
  const scores = metadata.numbers("tokenizer.ggml.scores");
  const unknown = tokens[metadata.token("tokenizer.ggml.unknown_token_id") ?? 0] ?? "<unk>";
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    normalizer: {
      type: "Sequence",
      normalizers: [...(prefixed ? [{ type: "Prepend", prepend: "▁" }] : []), spaces],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefixed ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    post_processor: null,
    model: bpe(tokens, mergesOf(tokens, scores), { byte_fallback: true, fuse_unk: true, unk_token: unknown }),
  };
}

function bpe(tokens: readonly string[], merges: readonly (readonly string[])[], options: object): unknown {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ...options,
    vocab,
    merges,
  };
}

/** Best score of the token made first, as transformers orders them. */
function mergesOf(tokens: readonly string[], scores: readonly number[]): [string, string][] {
  const length = (id: number): number => Array.from(tokens[id]!).length;
  const merges = possibleMerges(tokens).map((merge) => {
    const lengths = [length(merge.leftId), length(merge.rightId)] as const;
    return { ...merge, score: scores[merge.id] ?? 0, lengths };
  });
  merges.sort(
    (a, b) =>
      b.score - a.score ||
      b.lengths[0] - a.lengths[0] ||
      b.lengths[1] - a.lengths[1] ||
      a.id - b.id ||
      a.leftId - b.leftId ||
      a.rightId - b.rightId,
  );
  return merges.map(({ left, right }) => [left, right]);
}

/** The template that puts tokens around a text; `otherwise` where there are none. */
function template(
  { bos, eos }: { readonly bos: string | null; readonly eos: string | null },
  idOf: (token: string) => number,
  otherwise: unknown,
): unknown {
  if (bos === null && eos === null) return otherwise;
  const around = (id: "A" | "B", type_id: number): unknown[] => [
    ...(bos === null ? [] : [{ SpecialToken: { id: bos, type_id } }]),
    { Sequence: { id, type_id } },
    ...(eos === null ? [] : [{ SpecialToken: { id: eos, type_id } }]),
  ];
  const special = [bos, eos].filter((token): token is string => token !== null);
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(
      special.map((token) => [token, { id: token, ids: [idOf(token)], tokens: [token] }]),
    ),
  };
}
