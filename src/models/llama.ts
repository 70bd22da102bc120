/**
 * Llama (Touvron et al. 2023): grouped keys and values, rotary positions, gated SiLU. The forward pass is decoder.ts.
 * Source of names and options: transformers `modeling_llama.py`.
 */

import type { Architecture } from "./architecture.ts";
import { readFlag, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, everyLayer, readDecoder } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const llama: Architecture<DecoderConfig> = decoder({
  modelTypes: ["llama"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "pretraining_tp", [1]);
    refuseUnless(raw, "partial_rotary_factor", [1]);
    const common = readDecoder(raw, {
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
    });
    const bias = readFlag(raw, "attention_bias", false);
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: readFlag(raw, "mlp_bias", false) },
      layerOptions: everyLayer(common.layers, { window: null, rope }),
    };
  },
});
