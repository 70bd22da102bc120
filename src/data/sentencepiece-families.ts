/**
 * What transformers' tokenizer classes make of a SentencePiece model.
 *
 * Llama, Gemma, XLM-RoBERTa, DeBERTa v2 and ALBERT have rules of their own and leave some of the model's settings
 * aside; every other class follows the settings.
 * Source: transformers 5.24 `models/{llama,gemma,xlm_roberta,deberta_v2,albert}/tokenization_*.py`,
 * `convert_slow_tokenizer.py` (`SentencePieceExtractor`, `SpmConverter.build_tokenizer_from_spm_proto`).
 */

import { FormatError } from "../errors.ts";
import type { JsonObject } from "./json-values.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import {
  bpe,
  bytesDecoder,
  MARK,
  metaspace,
  ownUnigram,
  precompiled,
  rankedBpe,
  renamed,
  replace,
  scored,
  unigram,
  type Vocabulary,
} from "./sentencepiece-parts.ts";
import { tokenText } from "./special-tokens.ts";

type Names = Readonly<Record<string, string>>;

/** What a class makes of the model: all of `tokenizer.json` but the added tokens and the ids of special ones. */
export interface Family {
  readonly names: Names;
  readonly tokens: Vocabulary;
  readonly model: JsonObject;
  readonly normalizers: readonly JsonObject[];
  readonly splitters: readonly JsonObject[];
  readonly decoder: JsonObject;
  /** What stands around one text and around two; the names stand for tokens. */
  readonly template: {
    /** Which named tokens begin and end a text. */
    readonly around: readonly [begin: string, end: string];
    readonly single: readonly Part[];
    readonly pair: readonly Part[];
  } | null;
  /** The model itself keeps the user-defined pieces whole; else they are added tokens. */
  readonly keepsPieces: boolean;
  /** The mask token takes the spaces before it along. */
  readonly maskTakesSpace?: boolean;
}
export type Part = readonly ["A" | "B" | "begin" | "end", number];

const CLASSIFIER: Names = {
  bos_token: "[CLS]",
  eos_token: "[SEP]",
  unk_token: "[UNK]",
  sep_token: "[SEP]",
  pad_token: "[PAD]",
  cls_token: "[CLS]",
  mask_token: "[MASK]",
};
const FAIRSEQ: Names = {
  bos_token: "<s>",
  eos_token: "</s>",
  unk_token: "<unk>",
  sep_token: "</s>",
  pad_token: "<pad>",
  cls_token: "<s>",
  mask_token: "<mask>",
};

/** Classes that follow the model's settings, and types of models without a class of their own. */
const PLAIN = ["PreTrainedTokenizer", "TokenizersBackend", "llama", "mistral", "phi3"];

/** What `tokenizer_class` says, else the type of the model. Throws a FormatError for classes with other rules. */
export function familyOf(
  { path }: SentencePieceModel,
  config: JsonObject,
  modelType: string | null,
): (model: SentencePieceModel, config: JsonObject) => Family {
  const named = tokenText(config["tokenizer_class"])?.replace(/Fast$/, "") ?? modelType;
  switch (named) {
    case "LlamaTokenizer":
      // Of models that only borrow the class, transformers follows the file's own settings.
      return modelType === "llama" || modelType === null ? llama : byOwnSettings;
    case "GemmaTokenizer":
    case "gemma":
    case "gemma2":
    case "gemma3_text":
      return gemma;
    case "XLMRobertaTokenizer":
    case "xlm-roberta":
      return xlmRoberta;
    case "CamembertTokenizer":
    case "camembert":
      return camembert;
    case "DebertaV2Tokenizer":
    case "deberta-v2":
      return debertaV2;
    case "AlbertTokenizer":
    case "albert":
      return albert;
    default:
      if (named === null || PLAIN.includes(named)) return byOwnSettings;
      throw new FormatError(
        `${path}: a SentencePiece model for ${named}, whose rules are not known; known are Llama, Mistral, Phi 3, Gemma, ` +
          `XLM-RoBERTa, CamemBERT, DeBERTa v2, ALBERT and PreTrainedTokenizerFast. Take the model's tokenizer.json.`,
      );
  }
}

function llama(model: SentencePieceModel, config: JsonObject): Family {
  const prefixes = config["add_prefix_space"] !== false;
  const scheme = prefixes ? (config["legacy"] === true ? "always" : "first") : "never";
  return {
    names: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
    tokens: scored(model),
    model: bpe(scored(model), { byte_fallback: true }),
    normalizers: [],
    splitters: [metaspace(scheme, false)],
    decoder: bytesDecoder(prefixes),
    template: null,
    keepsPieces: false,
  };
}

function gemma(model: SentencePieceModel, config: JsonObject): Family {
  const names = {
    unk_token: "<unk>",
    bos_token: "<bos>",
    eos_token: "<eos>",
    pad_token: "<pad>",
    mask_token: "<mask>",
  };
  const unknown = tokenText(config["unk_token"]) ?? names.unk_token;
  return {
    names,
    tokens: scored(model),
    model: bpe(scored(model), { byte_fallback: true, unk_token: unknown }),
    normalizers: [replace({ String: " " }, MARK)],
    splitters: [],
    decoder: bytesDecoder(false),
    template: null,
    keepsPieces: false,
  };
}

/** fairseq's ids: four special tokens before the pieces, whose own first three fall away, and `<mask>` at the end. */
function xlmRoberta(model: SentencePieceModel, config: JsonObject): Family {
  const named = (key: string): Vocabulary[number] => [tokenText(config[key]) ?? FAIRSEQ[key]!, 0];
  const first = ["bos_token", "pad_token", "eos_token", "unk_token"].map(named);
  return fairseq(model, config, [...first, ...scored(model).slice(3), named("mask_token")]);
}

/** The same with unused begin and end tokens in front, so that the pieces' own are taken. */
function camembert(model: SentencePieceModel, config: JsonObject): Family {
  const named = (key: string): Vocabulary[number] => [tokenText(config[key]) ?? FAIRSEQ[key]!, 0];
  const first: Vocabulary = [
    ["<s>NOTUSED", 0],
    named("pad_token"),
    ["</s>NOTUSED", 0],
    named("unk_token"),
    ["<unk>NOTUSED", -100],
  ];
  const tokens = [...first, ...scored(model).slice(1), named("mask_token")];
  return { ...fairseq(model, config, tokens), maskTakesSpace: true };
}

function fairseq(model: SentencePieceModel, config: JsonObject, tokens: Vocabulary): Family {
  const space = metaspace(config["add_prefix_space"] === false ? "never" : "always", true);
  return {
    names: FAIRSEQ,
    tokens,
    model: unigram(model, tokens, 3),
    normalizers: precompiled(model),
    splitters: [{ type: "WhitespaceSplit" }, space],
    decoder: space,
    template: ROBERTA,
    keepsPieces: false,
  };
}

/** One segment, two end tokens between texts. */
const ROBERTA: Family["template"] = {
  around: ["bos_token", "eos_token"],
  single: [
    ["begin", 0],
    ["A", 0],
    ["end", 0],
  ],
  pair: [
    ["begin", 0],
    ["A", 0],
    ["end", 0],
    ["end", 0],
    ["B", 0],
    ["end", 0],
  ],
};

/** BERT's two segments. */
const SEGMENTS: Family["template"] = {
  around: ["cls_token", "sep_token"],
  single: [
    ["begin", 0],
    ["A", 0],
    ["end", 0],
  ],
  pair: [
    ["begin", 0],
    ["A", 0],
    ["end", 0],
    ["B", 1],
    ["end", 1],
  ],
};

function debertaV2(model: SentencePieceModel, config: JsonObject): Family {
  const tokens = scored(model);
  const unknown = tokens.findIndex(
    ([token, score]) => token === (tokenText(config["unk_token"]) ?? "[UNK]") && score === 0,
  );
  const scheme = config["add_prefix_space"] === false ? "first" : "always";
  return {
    names: CLASSIFIER,
    tokens,
    model: unigram(model, tokens, unknown === -1 ? 1 : unknown),
    normalizers: [
      ...(config["do_lower_case"] === true ? [{ type: "Lowercase" }] : []),
      replace({ Regex: String.raw`\s{2,}|[\n\r\t]` }, " "),
      { type: "NFC" },
      { type: "Strip", strip_left: false, strip_right: true },
    ],
    splitters: [
      ...(config["split_by_punct"] === true ? [{ type: "Punctuation", behavior: "Isolated" }] : []),
      metaspace(scheme, true),
    ],
    decoder: metaspace(scheme, true),
    template: SEGMENTS,
    keepsPieces: false,
  };
}

function albert(model: SentencePieceModel, config: JsonObject): Family {
  const tokens = scored(model);
  const scheme = config["add_prefix_space"] === false ? "never" : "always";
  return {
    names: { ...CLASSIFIER, unk_token: "<unk>", pad_token: "<pad>" },
    tokens,
    model: unigram(model, tokens, 1),
    normalizers: [
      replace({ String: "``" }, '"'),
      replace({ String: "''" }, '"'),
      ...(config["keep_accents"] === true ? [] : [{ type: "NFKD" }, { type: "StripAccents" }]),
      ...(config["do_lower_case"] === false ? [] : [{ type: "Lowercase" }]),
      ...precompiled(model),
    ],
    splitters: [{ type: "WhitespaceSplit" }, metaspace(scheme, true)],
    decoder: metaspace(scheme, true),
    template: SEGMENTS,
    keepsPieces: false,
  };
}

/** As SentencePiece itself splits: what Mistral, Phi 3 and every class without rules of its own get. */
function byOwnSettings(model: SentencePieceModel, config: JsonObject): Family {
  const tokens = renamed(model, config);
  const whole = model.pieces.flatMap(({ kind }, id) => (kind === "user-defined" ? [tokens[id]![0]] : []));
  const legacy = config["legacy"] !== false;
  const prefixes = model.addsDummyPrefix;
  const pattern = whole
    .sort((a, b) => b.length - a.length)
    .map((piece) => piece.replace(/[.*+?^${}()|[\]\\&-]/g, "\\$&"))
    .join("|");
  const names = { bos_token: model.beginPiece, eos_token: model.endPiece, unk_token: model.unknownPiece };
  const shared = { byte_fallback: model.byteFallback, unk_token: model.unknownPiece, ignore_merges: whole.length > 0 };
  return {
    names: Object.fromEntries(Object.entries(names).filter((entry): entry is [string, string] => entry[1] !== null)),
    tokens,
    model: model.algorithm === "bpe" ? rankedBpe(model, tokens, shared) : ownUnigram(model, tokens),
    normalizers: [
      ...precompiled(model),
      ...(model.removesExtraSpaces
        ? [replace({ Regex: String.raw`\A +| +\z` }, ""), replace({ Regex: " {2,}" }, " ")]
        : []),
      ...(model.escapesSpaces ? [replace({ String: " " }, MARK)] : []),
      // Metaspace puts nothing before a text that begins with the mark; SentencePiece does.
      ...(prefixes && legacy ? [replace({ Regex: String.raw`\A${MARK}` }, MARK + MARK)] : []),
    ],
    splitters: [
      ...(prefixes ? [metaspace(legacy ? "always" : "first", false)] : []),
      ...(whole.length > 0
        ? [{ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }]
        : []),
    ],
    decoder: bytesDecoder(prefixes),
    template: null,
    keepsPieces: true,
  };
}
