/** A tiny GPT-2 with a tokenizer of one token a word, whose chat template is of the common form. */

import { cpSync } from "node:fs";
import { openModel } from "../../src/models/open.ts";
import { caseFolder } from "../goldens/harness.ts";
import { writeWordTokenizer } from "./word-tokenizer.ts";

const TEMPLATE =
  "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}" +
  "{% for m in messages %}{{ bos_token }}{{ m['role'] }} {{ m['content'] }}{{ eos_token }} {% endfor %}" +
  "{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}assistant{% endif %}";

export function writeWordedModel(folder: string): void {
  cpSync(`${caseFolder("gpt2-c_attn")}/model`, folder, { recursive: true });
  const { vocabularySize } = openModel(folder).config;
  const words = ["<s>", "</s>", "user", "assistant", "hello", "world"];
  writeWordTokenizer(
    folder,
    Array.from({ length: vocabularySize }, (_, i) => words[i] ?? `w${i}`),
    TEMPLATE,
  );
}
