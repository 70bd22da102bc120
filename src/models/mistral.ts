/**
 * Mistral (Jiang et al. 2023): Llama with a window over the last `sliding_window` positions.
 * Source of names and options: transformers `modeling_mistral.py`.
 */

import { ModelError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, everyLayer, readDecoder, readWindow } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const mistral: Architecture<DecoderConfig> = decoder({
  modelTypes: ["mistral"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "partial_rotary_factor", [1]);
    if (raw["layer_types"]) throw new ModelError("config.json: layer_types is not supported for model_type mistral");
    const common = readDecoder(raw, {
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 14336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 131072,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
    });
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings);
    return { ...common, layerOptions: everyLayer(common.layers, { window: readWindow(raw, 4096), rope }) };
  },
});
