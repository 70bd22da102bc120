/**
 * A tiny GPT-2 that says what it is told to: its block adds nothing, and the embedding of each position points at the
 * word that is to come next.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { writeWordTokenizer } from "./word-tokenizer.ts";

const WIDTH = 64;
const POSITIONS = 128;

export interface Script {
  readonly chatTemplate: string;
  /** Words of prompts. */
  readonly words: readonly string[];
  /** What is said after prompts of so many tokens; the end of text follows. */
  readonly answers: ReadonlyMap<number, string>;
  /** Words that are special tokens. */
  readonly special?: readonly string[];
}

export function writeScriptedModel(folder: string, { chatTemplate, words, answers, special }: Script): void {
  const said = [...answers].map(([length, text]) => [length, [...text.split(" "), "</s>"]] as const);
  const vocabulary = [...new Set(["<s>", "</s>", ...words, ...said.flatMap(([, text]) => text)])];
  const random = randomStream(1);
  const table = Float32Array.from({ length: vocabulary.length * WIDTH }, () => random.normal());
  const places = new Float32Array(POSITIONS * WIDTH);
  for (const [length, text] of said) {
    for (const [i, word] of text.entries()) {
      const at = vocabulary.indexOf(word) * WIDTH;
      for (let k = 0; k < WIDTH; k++) places[(length - 1 + i) * WIDTH + k] = 100 * table[at + k]!;
    }
  }
  const zeros = (...shape: number[]) => floatTensor(shape, new Float32Array(shape.reduce((a, b) => a * b)));
  const ones = () => floatTensor([WIDTH], new Float32Array(WIDTH).fill(1));
  const block = Object.entries({
    "ln_1.weight": ones(),
    "ln_1.bias": zeros(WIDTH),
    "attn.c_attn.weight": zeros(WIDTH, 3 * WIDTH),
    "attn.c_attn.bias": zeros(3 * WIDTH),
    "attn.c_proj.weight": zeros(WIDTH, WIDTH),
    "attn.c_proj.bias": zeros(WIDTH),
    "ln_2.weight": ones(),
    "ln_2.bias": zeros(WIDTH),
    "mlp.c_fc.weight": zeros(WIDTH, 4 * WIDTH),
    "mlp.c_fc.bias": zeros(4 * WIDTH),
    "mlp.c_proj.weight": zeros(4 * WIDTH, WIDTH),
    "mlp.c_proj.bias": zeros(WIDTH),
  }).map(([name, tensor]) => [`transformer.h.0.${name}`, tensor] as const);
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, "model.safetensors"), [
    ["transformer.wte.weight", floatTensor([vocabulary.length, WIDTH], table)],
    ["transformer.wpe.weight", floatTensor([POSITIONS, WIDTH], places)],
    ...block,
    ["transformer.ln_f.weight", ones()],
    ["transformer.ln_f.bias", zeros(WIDTH)],
  ]);
  const config = {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    activation_function: "gelu_new",
    layer_norm_epsilon: 1e-5,
    n_embd: WIDTH,
    n_head: 4,
    n_inner: null,
    n_layer: 1,
    n_positions: POSITIONS,
    tie_word_embeddings: true,
    vocab_size: vocabulary.length,
    eos_token_id: 1,
  };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeWordTokenizer(folder, vocabulary, chatTemplate, special);
}
