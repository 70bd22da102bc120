/**
 * Gemma 3, the text model (Kamath et al. 2025): Gemma 2 with an RMS norm on each head's queries and keys in place of the
 * attention's soft cap, five windowed layers to a full one, and a rope for each of the two kinds.
 * Source of names and options: transformers `modeling_gemma3.py`.
 */

import type { Architecture } from "./architecture.ts";
import { type RawConfig, readFlag, readNumber, readSize, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, readDecoder, readLayerTypes, readWindow, windowOf } from "./decoder.ts";
import { readCap } from "./gemma2.ts";
import { parseRope } from "./rope.ts";

export const gemma3Text: Architecture<DecoderConfig> = decoder({
  modelTypes: ["gemma3_text"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: false,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    refuseUnless(raw, "use_bidirectional_attention", [false]);
    const common = readDecoder(raw, {
      vocab_size: 262208,
      hidden_size: 2304,
      intermediate_size: 9216,
      num_hidden_layers: 26,
      num_attention_heads: 8,
      num_key_value_heads: 4,
      head_dim: 256,
      max_position_embeddings: 131072,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      activation: { field: "hidden_activation", name: "gelu_pytorch_tanh" },
    });
    const bias = readFlag(raw, "attention_bias", false);
    const ropes = readRopes(raw, (parameters, theta) =>
      parseRope(parameters, common.head_dim, common.max_position_embeddings, { theta }),
    );
    const window = readWindow(raw, 4096);
    const pattern = readSize(raw, "sliding_window_pattern", 6);
    const types = readLayerTypes(raw, common.layers, (layer) =>
      (layer + 1) % pattern === 0 ? "full_attention" : "sliding_attention",
    );
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: false },
      queryKeyNorm: "head",
      norms: "both",
      gainLessOne: true,
      embeddingScale: Math.sqrt(common.hidden_size),
      attentionScale: 1 / Math.sqrt(readNumber(raw, "query_pre_attn_scalar", 256)),
      logitCap: readCap(raw, "final_logit_softcapping", null),
      layerOptions: types.map((type) => ({
        window: windowOf(type, window),
        rope: ropes[type],
        table: `rope.${type}`,
      })),
    };
  },
});

/**
 * The ropes by layer type: `rope_parameters` holds one record each; the older spelling has `rope_theta` and
 * `rope_scaling` for full attention and `rope_local_base_freq` for windows.
 */
function readRopes<R>(
  raw: RawConfig,
  parse: (parameters: RawConfig, theta: number) => R,
): { full_attention: R; sliding_attention: R } {
  const byType = (raw["rope_parameters"] ?? {}) as Readonly<Record<string, RawConfig | null | undefined>>;
  const scaling = (raw["rope_scaling"] ?? {}) as RawConfig;
  return {
    full_attention: parse({ ...byType["full_attention"], ...scaling }, readNumber(raw, "rope_theta", 1_000_000)),
    sliding_attention: parse({ ...byType["sliding_attention"] }, readNumber(raw, "rope_local_base_freq", 10_000)),
  };
}
