/** The tokens that end a completion. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../files/json-file.ts";
import type { Base } from "../program/setup.ts";

/** `eos_token_id` of generation_config.json, else of config.json (a number or a list), and the tokenizer's end token. */
export function endTokens({ model, tokenizer }: Base): ReadonlySet<number> {
  const path = join(model.folder, "generation_config.json");
  const own = existsSync(path) ? readJsonObject(path)["eos_token_id"] : undefined;
  const listed = [own ?? model.rawConfig["eos_token_id"] ?? []].flat();
  const ids = listed.filter((id): id is number => typeof id === "number");
  return new Set(tokenizer?.endId == null ? ids : [...ids, tokenizer.endId]);
}
