/**
 * Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases on queries, keys and values, and, with `use_sliding_window`,
 * a window in the upper layers.
 * Source of names and options: transformers `modeling_qwen2.py`.
 */

import type { Architecture } from "./architecture.ts";
import { type RawConfig, readFlag, readNumber, refuseUnless } from "./config.ts";
import {
  type DecoderConfig,
  decoder,
  type LayerOptions,
  readDecoder,
  readLayerTypes,
  readWindow,
  windowOf,
} from "./decoder.ts";
import { readRope } from "./rope.ts";

export const qwen2: Architecture<DecoderConfig> = decoder({
  modelTypes: ["qwen2"],
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
      max_position_embeddings: 32768,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
    });
    return {
      ...common,
      biases: { qkv: true, output: false, mlp: false },
      layerOptions: qwenLayers(raw, common),
    };
  },
});

/** Full attention below `max_window_layers`, windows above it, where `use_sliding_window` says so. */
export function qwenLayers(raw: RawConfig, common: Omit<DecoderConfig, "layerOptions">): LayerOptions[] {
  const window = readFlag(raw, "use_sliding_window", false) ? readWindow(raw, 4096) : null;
  const firstWindowed = readNumber(raw, "max_window_layers", 28);
  const types = readLayerTypes(raw, common.layers, (layer) =>
    window !== null && layer >= firstWindowed ? "sliding_attention" : "full_attention",
  );
  const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
  return types.map((type) => ({ window: windowOf(type, window), rope }));
}
