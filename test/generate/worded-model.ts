/** A tiny GPT-2 with a tokenizer of one token a word, whose chat template is of the common form. */

import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../../src/models/open.ts";
import { caseFolder } from "../goldens/harness.ts";

const TEMPLATE =
  "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}" +
  "{% for m in messages %}{{ bos_token }}{{ m['role'] }} {{ m['content'] }}{{ eos_token }} {% endfor %}" +
  "{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}assistant{% endif %}";

export function writeWordedModel(folder: string): void {
  cpSync(`${caseFolder("gpt2-c_attn")}/model`, folder, { recursive: true });
  const { vocabularySize } = openModel(folder).config;
  const words = ["<s>", "</s>", "user", "assistant", "hello", "world"];
  const vocab: Record<string, number> = {};
  for (let i = 0; i < vocabularySize; i++) vocab[words[i] ?? `w${i}`] = i;
  const special = (id: number, content: string): object => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  const tokenizer = {
    version: "1.0",
    added_tokens: [special(0, "<s>"), special(1, "</s>")],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", vocab, unk_token: "<s>" },
  };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({
      bos_token: "<s>",
      eos_token: "</s>",
      chat_template: TEMPLATE,
      clean_up_tokenization_spaces: false,
    }),
  );
}
