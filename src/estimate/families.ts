/**
 * Published sizes by name, for plans without a checkpoint: config.json's fields as the models' own files state them.
 * GPT-3's sizes: Brown et al. 2020 (arXiv:2005.14165), table 2.1; it is built as GPT-2 is.
 */

import type { RawConfig } from "../models/config.ts";

const gpt2 = (n_layer: number, n_embd: number, n_head: number, n_positions = 1024): RawConfig => ({
  model_type: "gpt2",
  vocab_size: 50257,
  n_layer,
  n_embd,
  n_head,
  n_positions,
});

const bertLike = (model_type: string, layers: number, width: number, heads: number, more: RawConfig): RawConfig => ({
  model_type,
  num_hidden_layers: layers,
  hidden_size: width,
  num_attention_heads: heads,
  intermediate_size: 4 * width,
  max_position_embeddings: 512,
  type_vocab_size: 2,
  ...more,
});

const roberta = (layers: number, width: number, heads: number): RawConfig =>
  bertLike("roberta", layers, width, heads, {
    vocab_size: 50265,
    max_position_embeddings: 514,
    type_vocab_size: 1,
    layer_norm_eps: 1e-5,
    pad_token_id: 1,
  });

const deberta = (layers: number, width: number, heads: number, more: RawConfig): RawConfig =>
  bertLike("deberta-v2", layers, width, heads, {
    vocab_size: 128100,
    type_vocab_size: 0,
    relative_attention: true,
    max_relative_positions: -1,
    position_biased_input: false,
    pos_att_type: ["p2c", "c2p"],
    position_buckets: 256,
    share_att_key: true,
    norm_rel_ebd: "layer_norm",
    layer_norm_eps: 1e-7,
    ...more,
  });

const llama = (
  layers: number,
  width: number,
  heads: number,
  groups: number,
  inner: number,
  more: RawConfig,
): RawConfig => ({
  model_type: "llama",
  num_hidden_layers: layers,
  hidden_size: width,
  num_attention_heads: heads,
  num_key_value_heads: groups,
  intermediate_size: inner,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  ...more,
});

/** Configurations by name. */
export const FAMILIES: Readonly<Record<string, RawConfig>> = {
  gpt2: gpt2(12, 768, 12),
  "gpt2-medium": gpt2(24, 1024, 16),
  "gpt2-large": gpt2(36, 1280, 20),
  "gpt2-xl": gpt2(48, 1600, 25),
  "gpt3-175b": gpt2(96, 12288, 96, 2048),
  "bert-base": bertLike("bert", 12, 768, 12, { vocab_size: 30522 }),
  "bert-large": bertLike("bert", 24, 1024, 16, { vocab_size: 30522 }),
  "roberta-base": roberta(12, 768, 12),
  "roberta-large": roberta(24, 1024, 16),
  "deberta-v3-base": deberta(12, 768, 12, {}),
  "deberta-v3-large": deberta(24, 1024, 16, {}),
  "deberta-v2-xxlarge": deberta(48, 1536, 24, { conv_kernel_size: 3, conv_act: "gelu" }),
  "smollm2-135m": llama(30, 576, 9, 3, 1536, { vocab_size: 49152, tie_word_embeddings: true, rope_theta: 1e5 }),
  "smollm2-360m": llama(32, 960, 15, 5, 2560, { vocab_size: 49152, tie_word_embeddings: true, rope_theta: 1e5 }),
  "smollm2-1.7b": llama(24, 2048, 32, 32, 8192, { vocab_size: 49152, tie_word_embeddings: true, rope_theta: 130000 }),
  "llama-3.2-1b": llama(16, 2048, 32, 8, 8192, { vocab_size: 128256, tie_word_embeddings: true, head_dim: 64 }),
  "llama-3.1-8b": llama(32, 4096, 32, 8, 14336, { vocab_size: 128256, tie_word_embeddings: false }),
  "mistral-7b": {
    ...llama(32, 4096, 32, 8, 14336, { vocab_size: 32000, tie_word_embeddings: false, sliding_window: 4096 }),
    model_type: "mistral",
  },
};
