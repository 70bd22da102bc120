/** A fully fine-tuned model as a Hugging Face folder that transformers loads. */

import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { writeJsonAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/make-folder.ts";
import { type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";

/** Files of a model folder that belong to the tokenizer and to generation, not to the weights. */
const COMPANIONS = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "vocab.txt",
  "tokenizer.model",
  "spiece.model",
  "spm.model",
  "sentencepiece.bpe.model",
  "chat_template.jinja",
  "modules.json",
  "sentence_bert_config.json",
  "config_sentence_transformers.json",
  "1_Pooling/config.json",
];

/** Writes model.safetensors, config.json with `changed` fields, and copies of the tokenizer's files. */
export function saveFullModel(
  folder: string,
  model: Model,
  tensors: Iterable<readonly [string, WritableTensor]>,
  changed: Readonly<Record<string, unknown>> = { dtype: "float32" },
): void {
  makeFolder(folder);
  writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  const { torch_dtype: _older, ...config } = model.rawConfig as Record<string, unknown>;
  writeJsonAtomic(join(folder, "config.json"), { ...config, ...changed });
  for (const name of COMPANIONS) {
    const from = join(model.folder, name);
    if (!existsSync(from)) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    copyFileSync(from, join(folder, name));
  }
}
