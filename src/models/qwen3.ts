/**
 * Qwen3 (Yang et al. 2025): Qwen2 with an RMS norm on each head's queries and keys, heads of a width of their own, and
 * no biases unless `attention_bias`.
 * Source of names and options: transformers `modeling_qwen3.py`.
 */

import type { Architecture } from "./architecture.ts";
import { readFlag, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, readDecoder } from "./decoder.ts";
import { qwenLayers } from "./qwen2.ts";

export const qwen3: Architecture<DecoderConfig> = decoder({
  modelTypes: ["qwen3"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    const common = readDecoder(raw, {
      vocab_size: 151936,
      hidden_size: 4096,
      intermediate_size: 22016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      head_dim: 128,
      max_position_embeddings: 32768,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
    });
    const bias = readFlag(raw, "attention_bias", false);
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: false },
      queryKeyNorm: "head",
      layerOptions: qwenLayers(raw, common),
    };
  },
});
