/**
 * Gemma 2 (Rivière et al. 2024): Gemma with norms before and after each sublayer, soft caps on attention and vocabulary
 * scores, a scale of its own on the scores, and a window in every other layer, the first included.
 * Source of names and options: transformers `modeling_gemma2.py`.
 */

import type { Architecture } from "./architecture.ts";
import { type RawConfig, readFlag, readNumber, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, readDecoder, readLayerTypes, readWindow, windowOf } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const gemma2: Architecture<DecoderConfig> = decoder({
  modelTypes: ["gemma2"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    refuseUnless(raw, "use_bidirectional_attention", [false]);
    const common = readDecoder(raw, {
      vocab_size: 256000,
      hidden_size: 2304,
      intermediate_size: 9216,
      num_hidden_layers: 26,
      num_attention_heads: 8,
      num_key_value_heads: 4,
      head_dim: 256,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      activation: { field: "hidden_activation", name: "gelu_pytorch_tanh" },
    });
    const bias = readFlag(raw, "attention_bias", false);
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
    const window = readWindow(raw, 4096);
    const types = readLayerTypes(raw, common.layers, (layer) =>
      layer % 2 === 0 ? "sliding_attention" : "full_attention",
    );
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: false },
      norms: "both",
      gainLessOne: true,
      embeddingScale: Math.sqrt(common.hidden_size),
      attentionScale: 1 / Math.sqrt(readNumber(raw, "query_pre_attn_scalar", 256)),
      attentionCap: readCap(raw, "attn_logit_softcapping", 50),
      logitCap: readCap(raw, "final_logit_softcapping", 30),
      layerOptions: types.map((type) => ({ window: windowOf(type, window), rope })),
    };
  },
});

/** A soft cap: null, which caps nothing, is not the same as absent. */
export function readCap(raw: RawConfig, field: string, fallback: number | null): number | null {
  if (raw[field] === null) return null;
  return raw[field] === undefined ? fallback : readNumber(raw, field, 0);
}
