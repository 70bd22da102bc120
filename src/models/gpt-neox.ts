/**
 * GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023): attention and feed-forward side by side on one input,
 * layer norms, biases everywhere, rotary positions on a part of each head.
 * Source of names and options: transformers `modeling_gpt_neox.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H heads, D = C / H, F feed-forward width, V vocabulary.
 */

import type { Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { split } from "../graph/ops/movement.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { type RawConfig, readFlag, readLabelCount, readNumber, readRate, readSize } from "./config.ts";
import { parseRope, type Rope, rotate } from "./rope.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface GptNeoxConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly layer_norm_eps: number;
  readonly hidden_act: string;
  readonly attention_bias: boolean;
  readonly use_parallel_residual: boolean;
  readonly tie_word_embeddings: boolean;
  readonly rope: Rope;
  readonly attention_dropout: number;
  readonly hidden_dropout: number;
}

export const gptNeox: Architecture<GptNeoxConfig> = {
  modelTypes: ["gpt_neox"],
  basePrefix: "gpt_neox.",
  defaultTargets: ["query_key_value"],
  spellings: (name) => (name.startsWith("lm_head.") ? [name.replace("lm_head.", "embed_out.")] : []),

  configure: (raw) => {
    const hidden_size = readSize(raw, "hidden_size", 6144);
    const num_attention_heads = readSize(raw, "num_attention_heads", 64);
    const headWidth = Math.floor(hidden_size / num_attention_heads);
    const parameters = (raw["rope_scaling"] ?? raw["rope_parameters"] ?? {}) as RawConfig;
    return {
      hidden_size,
      num_attention_heads,
      intermediate_size: readSize(raw, "intermediate_size", 24576),
      layer_norm_eps: readNumber(raw, "layer_norm_eps", 1e-5),
      hidden_act: readActivation(raw, "hidden_act", "gelu"),
      attention_bias: readFlag(raw, "attention_bias", true),
      use_parallel_residual: readFlag(raw, "use_parallel_residual", true),
      tie_word_embeddings: readFlag(raw, "tie_word_embeddings", false),
      rope: parseRope(parameters, headWidth, readSize(raw, "max_position_embeddings", 2048), {
        theta: readNumber(raw, "rotary_emb_base", 10000),
        partial: readNumber(raw, "rotary_pct", 0.25),
      }),
      attention_dropout: readRate(raw, "attention_dropout", 0),
      hidden_dropout: readRate(raw, "hidden_dropout", 0),
      vocabularySize: readSize(raw, "vocab_size", 50432),
      maxPositions: null,
      hiddenSize: hidden_size,
      layers: readSize(raw, "num_hidden_layers", 44),
      keyValueHeads: num_attention_heads,
      headWidth,
      labels: readLabelCount(raw),
    };
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C, vocabularySize: V, layers } = config;
    const tokens = w.embedded(w.embedding("gpt_neox.embed_in", stream.ids, { rows: V, width: C }));
    let x = w.dropout(tokens, "embeddings", config.hidden_dropout); // [N, C]
    for (let layer = 0; layer < layers; layer++) {
      x = segment(stream, x, (y) => block(w, config, stream, layer, y));
    }
    return norm(w, config, "gpt_neox.final_layer_norm", x);
  },

  heads: {
    "causal-lm": {
      rows: "targets",
      logits: (w, { hidden_size: C, vocabularySize: V, tie_word_embeddings }, x) =>
        w.linear("lm_head", x, {
          in: C,
          out: V,
          bias: false,
          ...(tie_word_embeddings ? { weight: "gpt_neox.embed_in.weight" } : {}),
        }),
    },
    "sequence-classification": { rows: "last", logits: score },
  },
};

function score(w: Weights, { hidden_size: C, labels }: GptNeoxConfig, x: Value): Value {
  return w.linear("score", x, { in: C, out: labels, bias: false });
}

function block(w: Weights, config: GptNeoxConfig, stream: Stream, layer: number, x: Value): Value {
  const at = `gpt_neox.layers.${layer}`;
  const dropped = (half: Value, name: string): Value => w.dropout(half, `${at}.${name}`, config.hidden_dropout);
  const normed = norm(w, config, `${at}.input_layernorm`, x);
  const attended = dropped(selfAttention(w, config, stream, layer, normed), "attention");
  const y = add(x, attended);
  const fed = config.use_parallel_residual ? x : y;
  const inner = norm(w, config, `${at}.post_attention_layernorm`, fed);
  return add(y, dropped(feedForward(w, config, `${at}.mlp`, inner), "mlp"));
}

function selfAttention(w: Weights, config: GptNeoxConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H, headWidth: D, attention_bias: bias, rope } = config;
  const at = `gpt_neox.layers.${layer}.attention`;
  const qkv = w.linear(`${at}.query_key_value`, x, { in: C, out: 3 * C, bias }); // [N, H·3D], q, k, v of each head
  const [q, k, v] = split(splitHeads(qkv, stream, H, 3 * D), 3, 3) as [Value, Value, Value]; // [B, H, T, D] each
  const mixed = attention(w, stream, rotate(q, stream, rope), rotate(k, stream, rope), v, {
    layer,
    H,
    KV: H,
    D,
    scale: 1 / Math.sqrt(D),
    mask: { causal: true, window: null },
    dropout: config.attention_dropout,
  });
  return w.linear(`${at}.dense`, mixed, { in: C, out: C, bias });
}

function feedForward(w: Weights, config: GptNeoxConfig, at: string, x: Value): Value {
  const { hidden_size: C, intermediate_size: F } = config;
  const inner = activate(config.hidden_act, w.linear(`${at}.dense_h_to_4h`, x, { in: C, out: F, bias: true }));
  return w.linear(`${at}.dense_4h_to_h`, inner, { in: F, out: C, bias: true });
}

function norm(w: Weights, { hidden_size: C, layer_norm_eps }: GptNeoxConfig, at: string, x: Value): Value {
  return layerNorm(x, w.get(`${at}.weight`, [C]), w.get(`${at}.bias`, [C]), layer_norm_eps);
}
