/**
 * OLMo 2 (Walsh et al. 2024): Llama with norms on the outputs of its sublayers, and an RMS norm over all heads' queries
 * and all heads' keys.
 * Source of names and options: transformers `modeling_olmo2.py`.
 */

import type { Architecture } from "./architecture.ts";
import { readFlag, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, everyLayer, readDecoder } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const olmo2: Architecture<DecoderConfig> = decoder({
  modelTypes: ["olmo2"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: false,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    const common = readDecoder(raw, {
      vocab_size: 50304,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
    });
    const bias = readFlag(raw, "attention_bias", false);
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: false },
      queryKeyNorm: "width",
      norms: "outputs",
      layerOptions: everyLayer(common.layers, { window: null, rope }),
    };
  },
});
