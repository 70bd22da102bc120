/**
 * tokenizer.json rewritten so that the npm tokenizer (`@huggingface/tokenizers` 0.2) splits as the Rust one does.
 *
 * The npm package reads several components differently: JavaScript's `\s`, `\d` and `\w` instead of Unicode's, UTF-16
 * halves for rare Chinese characters, a context-dependent final sigma, split behaviours that it ignores, dropped
 * characters that still block merges. Each is here expressed by components that it does read as Rust does; its regular
 * expressions are those of Oniguruma, which it translates.
 * Source: Rust `tokenizers` `normalizers/`, `pre_tokenizers/`, `models/bpe/model.rs`.
 */

import { isObject, type JsonObject } from "./json-values.ts";

/** GPT-2's pattern: what ByteLevel splits by. */
const BYTE_LEVEL = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
/** Inside brackets: Unicode punctuation and ASCII symbols. */
const PUNCTUATION = String.raw`\p{P}\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}`;
const CHINESE = [
  String.raw`\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}`,
  String.raw`\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}`,
].join("");

/** The same tokenizer without its post-processor, which `tokenizer-template.ts` does, and with every field present. */
export function repaired(json: JsonObject): JsonObject {
  const model = isObject(json["model"]) ? json["model"] : {};
  const splitters = flatten(json["pre_tokenizer"], "pretokenizers").flatMap(repairedSplitter);
  const missing = missingBytes(splitters, model);
  return {
    ...json,
    added_tokens: json["added_tokens"] ?? [],
    normalizer: sequence(flatten(json["normalizer"], "normalizers").flatMap(repairedNormalizer), "normalizers"),
    pre_tokenizer: sequence([...splitters, ...(missing === "" ? [] : [replace(`[${missing}]`, "")])], "pretokenizers"),
    post_processor: null,
    decoder: json["decoder"] ?? null,
  };
}

function repairedNormalizer(part: JsonObject): JsonObject[] {
  switch (part["type"]) {
    case "BertNormalizer":
      return bertNormalizers(part);
    case "Lowercase":
      return lowercase();
    case "StripAccents":
      return [replace(String.raw`\p{M}`, "")];
    case "Strip":
      return [
        ...(part["strip_left"] === true ? [replace(String.raw`\A\s+`, "")] : []),
        ...(part["strip_right"] === true ? [replace(String.raw`\s+\z`, "")] : []),
      ];
    default:
      return [part];
  }
}

function bertNormalizers(part: JsonObject): JsonObject[] {
  const lower = part["lowercase"] !== false;
  const stripsAccents = typeof part["strip_accents"] === "boolean" ? part["strip_accents"] : lower;
  return [
    ...(part["clean_text"] === false
      ? []
      : [replace(String.raw`(?![\t\n\r])[\x{0}\x{FFFD}\p{Cc}\p{Cf}\p{Co}]`, ""), replace(String.raw`\s`, " ")]),
    // The package hands `content` to JavaScript's replaceAll, where $& is the match.
    ...(part["handle_chinese_chars"] === false ? [] : [replace(`[${CHINESE}]`, " $& ")]),
    ...(stripsAccents ? [{ type: "NFD" }, replace(String.raw`\p{Mn}`, "")] : []),
    ...(lower ? lowercase() : []),
  ];
}

/** Rust lower-cases letter by letter; JavaScript turns a capital sigma at a word's end into ς. */
function lowercase(): JsonObject[] {
  return [replace("\u03A3", "\u03C3"), { type: "Lowercase" }];
}

function repairedSplitter(part: JsonObject): JsonObject[] {
  switch (part["type"]) {
    case "ByteLevel":
      return [
        ...(part["add_prefix_space"] === true ? [replace(String.raw` ([\s\S]*)|([\s\S]+)`, " $1$2")] : []),
        ...(part["use_regex"] === false ? [] : [isolated(BYTE_LEVEL)]),
        { ...part, add_prefix_space: false, use_regex: false },
      ];
    case "BertPreTokenizer":
      return [matches(String.raw`[^\s${PUNCTUATION}]+|[${PUNCTUATION}]`)];
    case "Whitespace":
      return [matches(String.raw`\w+|[^\w\s]+`)];
    case "WhitespaceSplit":
      return [matches(String.raw`[^\s]+`)];
    case "Punctuation":
      return [split({ Regex: `[${PUNCTUATION}]` }, String(part["behavior"] ?? "Isolated"))];
    case "Digits":
      return [isolated(part["individual_digits"] === true ? String.raw`\p{N}` : String.raw`\p{N}+`)];
    case "CharDelimiterSplit":
      return [split({ String: part["delimiter"] }, "Removed")];
    case "Metaspace": {
      const mark = String(part["replacement"] ?? "\u2581");
      return part["split"] === false ? [part] : [part, split({ String: mark }, "MergedWithNext")];
    }
    case "Split":
      return part["invert"] === true ? [part] : [split(part["pattern"], String(part["behavior"] ?? "Isolated"))];
    default:
      return [part];
  }
}

/** A Split whose behaviour is written into its pattern: the package knows only Removed and Isolated. */
function split(pattern: unknown, behavior: string): JsonObject {
  const source = isObject(pattern) ? pattern : {};
  const p = typeof source["Regex"] === "string" ? source["Regex"] : escaped(String(source["String"] ?? ""));
  const rest = `(?:(?!${p})[\\s\\S])+`;
  switch (behavior.toLowerCase()) {
    case "mergedwithprevious":
      return isolated(`${rest}(?:${p})?|(?:${p})`);
    case "mergedwithnext":
      return isolated(`(?:${p})(?:${rest})?|${rest}`);
    case "contiguous":
      return isolated(`(?:${p})+`);
    default:
      return { type: "Split", pattern, behavior, invert: false };
  }
}

/**
 * Byte letters that the vocabulary lacks when there is no unknown token, as the inside of a character class. Rust drops
 * them before it merges; the package afterwards, so that their neighbours would not join.
 */
function missingBytes(splitters: readonly JsonObject[], model: JsonObject): string {
  const vocab = model["vocab"];
  const drops = typeof model["unk_token"] !== "string" && model["byte_fallback"] !== true;
  if (!drops || !isObject(vocab) || !splitters.some((part) => part["type"] === "ByteLevel")) return "";
  return byteLetters()
    .filter((letter) => !(letter in vocab))
    .map((letter) => `\\x{${letter.charCodeAt(0).toString(16)}}`)
    .join("");
}

/** The 256 letters that stand for bytes: printable Latin-1 for itself, U+0100 onwards for the others. */
function byteLetters(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

function flatten(part: unknown, list: string): JsonObject[] {
  if (!isObject(part)) return [];
  const parts = part[list];
  return part["type"] === "Sequence" && Array.isArray(parts) ? parts.flatMap((inner) => flatten(inner, list)) : [part];
}

function sequence(parts: readonly JsonObject[], list: string): JsonObject | null {
  return parts.length === 0 ? null : { type: "Sequence", [list]: parts };
}

function replace(regex: string, content: string): JsonObject {
  return { type: "Replace", pattern: { Regex: regex }, content };
}

function isolated(regex: string): JsonObject {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}

/** Only what matches, the rest removed. */
function matches(regex: string): JsonObject {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Removed", invert: true };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\&-]/g, "\\$&");
}
