/**
 * SmolLM3 (Hugging Face 2025): Llama without positions in every fourth layer, or in those that `no_rope_layers` marks
 * with 0.
 * Source of names and options: transformers `modeling_smollm3.py`.
 */

import { ModelError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { type RawConfig, readFlag, readSize, refuseUnless } from "./config.ts";
import { type DecoderConfig, decoder, readDecoder, readLayerTypes, readWindow, windowOf } from "./decoder.ts";
import { readRope } from "./rope.ts";

export const smollm3: Architecture<DecoderConfig> = decoder({
  modelTypes: ["smollm3"],
  defaultTargets: ["q_proj", "v_proj"],
  tokenClassification: true,

  configure: (raw) => {
    refuseUnless(raw, "pretraining_tp", [1]);
    refuseUnless(raw, "partial_rotary_factor", [1]);
    const common = readDecoder(raw, {
      vocab_size: 128256,
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 4,
      max_position_embeddings: 32768,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
    });
    const bias = readFlag(raw, "attention_bias", false);
    const rope = readRope(raw, common.head_dim, common.max_position_embeddings, { theta: 2_000_000 });
    const placed = readPlacedLayers(raw, common.layers);
    const window = readWindow(raw, null);
    const windowed = readFlag(raw, "use_sliding_window", false) && window !== null;
    const types = readLayerTypes(raw, common.layers, (layer) =>
      windowed && !placed[layer] ? "sliding_attention" : "full_attention",
    );
    return {
      ...common,
      biases: { qkv: bias, output: bias, mlp: readFlag(raw, "mlp_bias", false) },
      layerOptions: types.map((type, layer) => ({
        window: windowOf(type, window),
        rope: placed[layer] ? rope : null,
      })),
    };
  },
});

/** Which layers have positions: `no_rope_layers` holds 1 for those, and 0 for the ones without. */
function readPlacedLayers(raw: RawConfig, count: number): boolean[] {
  const marks = raw["no_rope_layers"] ?? null;
  if (marks === null) {
    const interval = readSize(raw, "no_rope_layer_interval", 4);
    return Array.from({ length: count }, (_, layer) => (layer + 1) % interval !== 0);
  }
  if (!Array.isArray(marks) || marks.length < count) {
    throw new ModelError(`config.json: no_rope_layers is ${JSON.stringify(marks)}, needed a list of ${count} numbers`);
  }
  return marks.slice(0, count).map(Boolean);
}
