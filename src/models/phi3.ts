/**
 * Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al. 2024): Llama with q, k and v in one matrix, gate and up in another, an
 * optional window, and longrope for long contexts.
 * Source of names and options: transformers `modeling_phi3.py`.
 */

import { ModelError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { type RawConfig, readRate, readSize } from "./config.ts";
import { type DecoderConfig, decoder, everyLayer, readDecoder, readWindow } from "./decoder.ts";
import { type Rope, readRope } from "./rope.ts";

export const phi3: Architecture<DecoderConfig> = decoder({
  modelTypes: ["phi3"],
  defaultTargets: ["qkv_proj"],
  tokenClassification: true,

  configure: (raw) => {
    const common = readDecoder(raw, {
      vocab_size: 32064,
      hidden_size: 3072,
      intermediate_size: 8192,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
    });
    const rope = readLongRope(raw, common);
    return {
      ...common,
      fused: true,
      resid_pdrop: readRate(raw, "resid_pdrop", 0),
      layerOptions: everyLayer(common.layers, { window: readWindow(raw, null), rope }),
    };
  },
});

/** Older files call longrope "su" or "yarn". */
function readLongRope(raw: RawConfig, common: Pick<DecoderConfig, "head_dim" | "max_position_embeddings">): Rope {
  const parameters = (raw["rope_scaling"] ?? raw["rope_parameters"] ?? {}) as RawConfig;
  const type = parameters["rope_type"] ?? parameters["type"] ?? "default";
  const longrope = type === "su" || type === "yarn" || type === "longrope";
  if (!longrope && type !== "default") {
    throw new ModelError(`config.json: rope scaling ${JSON.stringify(type)} is not known for phi3; known is longrope`);
  }
  const named = { ...raw, rope_scaling: { ...parameters, rope_type: longrope ? "longrope" : "default" } };
  return readRope(named, common.head_dim, common.max_position_embeddings, {
    original: readSize(raw, "original_max_position_embeddings", 4096),
  });
}
