/**
 * Gemma (Mesnard et al. 2024): Llama with tanh GELU, norms that store their gain less 1, and token embeddings scaled by
 * √hidden_size.
 * Source of names and options: transformers `modeling_gemma.py`.
 */

import type { Architecture } from "./architecture.ts";
import { readFlag, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, everyLayer, readDecoder } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const gemma: Architecture<DecoderConfig> = decoder({
  modelTypes: ["gemma"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    refuseUnless(raw, "use_bidirectional_attention", [false]);
    refuseUnless(raw, "hidden_activation", ["gelu_pytorch_tanh"]); // an older second name of hidden_act
    const common = readDecoder(raw, {
      vocab_size: 256000,
      hidden_size: 3072,
      intermediate_size: 24576,
      num_hidden_layers: 28,
      num_attention_heads: 16,
      num_key_value_heads: 16,
      head_dim: 256,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      activation: { field: "hidden_act", name: "gelu_pytorch_tanh" },
    });
    const bias = readFlag(raw, "attention_bias", false);
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
    return {
      ...common,
      // The first releases say "gelu" and mean the tanh formula.
      hidden_act: common.hidden_act === "gelu" ? "gelu_pytorch_tanh" : common.hidden_act,
      biases: { qkv: bias, output: bias, mlp: false },
      gainLessOne: true,
      embeddingScale: Math.sqrt(common.hidden_size),
      layerOptions: everyLayer(common.layers, { window: null, rope }),
    };
  },
});
