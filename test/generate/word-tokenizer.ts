/** A tokenizer of one token a word, with a chat template. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Writes its files. The first word begins texts, the second ends them; `special` are further ones that texts hide. */
export function writeWordTokenizer(
  folder: string,
  words: readonly string[],
  chatTemplate: string,
  special: readonly string[] = [],
): void {
  const [begin = "", end = ""] = words;
  const added = [begin, end, ...special].map((content) => ({
    id: words.indexOf(content),
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }));
  const tokenizer = {
    version: "1.0",
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      unk_token: begin,
    },
  };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({
      bos_token: begin,
      eos_token: end,
      chat_template: chatTemplate,
      clean_up_tokenization_spaces: false,
    }),
  );
}
