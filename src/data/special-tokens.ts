/** Special tokens as `tokenizer_config.json` names them. */

import { isObject, type JsonObject } from "./json-values.ts";

/** Keys of the named special tokens, in the order in which transformers adds those that a vocabulary lacks. */
export const SPECIAL_TOKEN_KEYS = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

/** The text of a special token, which files give as a string or as an object with `content`. */
export function tokenText(value: unknown): string | null {
  if (typeof value === "string") return value;
  return isObject(value) && typeof value["content"] === "string" ? value["content"] : null;
}

/** `added_tokens_decoder` in the order of its ids. */
export function listedTokens(config: JsonObject): { readonly id: number; readonly token: JsonObject }[] {
  const decoder = config["added_tokens_decoder"];
  return Object.entries(isObject(decoder) ? decoder : {})
    .flatMap(([id, token]) => (isObject(token) ? [{ id: Number(id), token }] : []))
    .sort((a, b) => a.id - b.id);
}
