/** tokenizer.json as GGUF's metadata: the reverse of tokenizer.ts. */

import { ModelError } from "../errors.ts";
import type { GgufScalar } from "../files/gguf-writer.ts";
import { isRecord } from "../files/json-file.ts";
import { preTokenizerName } from "./tokenizer.ts";

type Json = Readonly<Record<string, unknown>>;

/** Kinds of tokens in `tokenizer.ggml.token_type`. */
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6];

/**
 * The metadata of a tokenizer with `vocabulary` ids, those that it lacks filled up. Throws ModelError for kinds that
 * llama.cpp would split texts unlike.
 */
export function tokenizerMetadata(
  path: string,
  tokenizer: Json,
  config: Json,
  chatTemplate: string | null,
  vocabulary: number,
): Map<string, GgufScalar> {
  const model = isRecord(tokenizer["model"]) ? tokenizer["model"] : {};
  const vocab = isRecord(model["vocab"]) ? model["vocab"] : {};
  if (model["type"] !== "BPE") {
    throw new ModelError(`${path}: a ${String(model["type"])} tokenizer has no form in GGUF here; BPE has.`);
  }
  const tokens = Array.from({ length: vocabulary }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabulary).fill(UNUSED!);
  const put = (token: string, id: unknown, type: number): void => {
    if (typeof id !== "number" || !(id < vocabulary)) return; // no row of the embedding belongs to it
    tokens[id] = token;
    types[id] = type;
  };
  const byBytes = model["byte_fallback"] === true;
  for (const [token, id] of Object.entries(vocab)) {
    put(token, id, byBytes && /^<0x[0-9A-F]{2}>$/.test(token) ? BYTE! : NORMAL!);
  }
  for (const added of list(tokenizer["added_tokens"])) {
    if (isRecord(added))
      put(String(added["content"]), added["id"], added["special"] === true ? CONTROL! : USER_DEFINED!);
  }
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const merges = list(model["merges"]).map((merge) => (Array.isArray(merge) ? merge.join(" ") : String(merge)));
  const out = new Map<string, GgufScalar>([["tokenizer.ggml.model", byBytes ? "llama" : "gpt2"]]);
  out.set("tokenizer.ggml.pre", byBytes ? "default" : preTokenizerName(path, tokenizer));
  out.set("tokenizer.ggml.tokens", { texts: tokens });
  if (byBytes) {
    const unknown = idOf.get(String(model["unk_token"] ?? "<unk>"));
    if (unknown !== undefined) types[unknown] = UNKNOWN!;
    out.set("tokenizer.ggml.scores", { f32s: scoresOf(merges, idOf, vocabulary) });
    out.set("tokenizer.ggml.add_space_prefix", JSON.stringify(tokenizer["normalizer"] ?? null).includes('"Prepend"'));
  } else out.set("tokenizer.ggml.merges", { texts: merges });
  out.set("tokenizer.ggml.token_type", { i32s: types });
  for (const [key, name] of [
    ["bos", "bos_token"],
    ["eos", "eos_token"],
    ["unknown", "unk_token"],
    ["padding", "pad_token"],
  ] as const) {
    const given = config[name];
    const id = idOf.get(String(isRecord(given) ? given["content"] : given));
    if (id !== undefined) out.set(`tokenizer.ggml.${key}_token_id`, { u32: id });
  }
  out.set("tokenizer.ggml.add_bos_token", beginsWith(tokenizer, String(config["bos_token"] ?? "")));
  if (chatTemplate !== null) out.set("tokenizer.chat_template", chatTemplate);
  return out;
}

/** Scores that order tokens as the merges do: llama.cpp joins what makes the best-scored token first. */
function scoresOf(merges: readonly string[], idOf: ReadonlyMap<string, number>, count: number): number[] {
  const scores = new Array<number>(count).fill(-1e6);
  merges.forEach((merge, rank) => {
    const id = idOf.get(merge.replace(" ", ""));
    if (id !== undefined && scores[id] === -1e6) scores[id] = -rank;
  });
  return scores;
}

/** Whether the post-processor puts the token before every text. */
function beginsWith(tokenizer: Json, token: string): boolean {
  const processors = [tokenizer["post_processor"]].flatMap((each) =>
    isRecord(each) && Array.isArray(each["processors"]) ? each["processors"] : [each],
  );
  return processors.some((each) => {
    const first = isRecord(each) ? list(each["single"])[0] : undefined;
    const special = isRecord(first) ? first["SpecialToken"] : undefined;
    return isRecord(special) && special["id"] === token;
  });
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
