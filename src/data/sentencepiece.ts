/**
 * A SentencePiece model as the value of `tokenizer.json`, with the ids that transformers gives from the same files.
 *
 * Source: transformers 5.24 `tokenization_utils_tokenizers.py` (added tokens), `convert_slow_tokenizer.py`.
 */

import { isObject, type JsonObject } from "./json-values.ts";
import { type Family, familyOf, type Part } from "./sentencepiece-families.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import { listedTokens, SPECIAL_TOKEN_KEYS, tokenText } from "./special-tokens.ts";

export interface SentencePieceTokenizer {
  readonly json: JsonObject;
  /** The names of the special tokens, for what `tokenizer_config.json` does not say. */
  readonly config: JsonObject;
}

/** `modelType` is config.json's, `config` tokenizer_config.json. */
export function sentencePieceTokenizer(
  model: SentencePieceModel,
  config: JsonObject,
  modelType: string | null,
): SentencePieceTokenizer {
  const family = familyOf(model, config, modelType)(model, config);
  const added = addedTokens(model, family, config);
  const idOf = (token: string): number =>
    Number(added.find((entry) => entry["content"] === token)?.["id"] ?? family.tokens.findIndex(([t]) => t === token));
  const json = {
    added_tokens: added,
    normalizer: { type: "Sequence", normalizers: family.normalizers },
    pre_tokenizer: { type: "Sequence", pretokenizers: family.splitters },
    post_processor: family.template === null ? null : processor(family.names, family.template, config, idOf),
    decoder: family.decoder,
    model: family.model,
  };
  return { json, config: family.names };
}

/** Control and user-defined pieces, what the configuration lists, and the named special tokens: new ones at the end. */
function addedTokens(model: SentencePieceModel, family: Family, config: JsonObject): JsonObject[] {
  const ids = new Map(family.tokens.map(([token], id) => [token, id]));
  const added = new Map<string, JsonObject>();
  let next = family.tokens.length;
  const add = (content: string, flags: JsonObject, special: boolean): void => {
    if (added.has(content)) return;
    const id = ids.get(content) ?? next++;
    ids.set(content, id);
    const flag = (key: string, otherwise: boolean): boolean =>
      typeof flags[key] === "boolean" ? flags[key] : otherwise;
    added.set(content, {
      id,
      content,
      special: special || flag("special", false),
      normalized: flag("normalized", false),
      single_word: flag("single_word", false),
      lstrip: flag("lstrip", false),
      rstrip: flag("rstrip", false),
    });
  };
  const names: JsonObject = { ...family.names, ...config };
  const named = new Set(SPECIAL_TOKEN_KEYS.map((key) => tokenText(names[key])));
  for (const { token } of listedTokens(config)) {
    const content = tokenText(token);
    if (content !== null)
      add(
        content,
        family.keepsPieces && model.addsDummyPrefix ? { ...token, normalized: false } : token,
        named.has(content),
      );
  }
  for (const key of SPECIAL_TOKEN_KEYS) {
    const content = tokenText(names[key]);
    const otherwise = key === "mask_token" && family.maskTakesSpace === true ? { lstrip: true } : {};
    if (content !== null) add(content, isObject(names[key]) ? names[key] : otherwise, true);
  }
  for (const { text, kind } of model.pieces) {
    if (kind === "control" || (kind === "user-defined" && !family.keepsPieces)) add(text, {}, kind === "control");
  }
  return [...added.values()].sort((a, b) => Number(a["id"]) - Number(b["id"]));
}

function processor(
  names: JsonObject,
  template: NonNullable<Family["template"]>,
  config: JsonObject,
  idOf: (token: string) => number,
): JsonObject {
  const token = (key: string): string => tokenText(config[key]) ?? tokenText(names[key]) ?? "";
  const [begin, end] = template.around;
  const around = { begin: token(begin), end: token(end) };
  const parts = (list: readonly Part[]): JsonObject[] =>
    list.map(([what, type_id]) =>
      what === "A" || what === "B"
        ? { Sequence: { id: what, type_id } }
        : { SpecialToken: { id: around[what], type_id } },
    );
  return {
    type: "TemplateProcessing",
    single: parts(template.single),
    pair: parts(template.pair),
    special_tokens: Object.fromEntries(Object.values(around).map((id) => [id, { id, ids: [idOf(id)], tokens: [id] }])),
  };
}
