/**
 * Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023, Li et al. 2023): attention and feed-forward side by side on one layer
 * norm, biases everywhere (the vocabulary head too), rotary positions on a part of each head.
 * Source of names and options: transformers `modeling_phi.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H query heads, KV key and value heads, D = C / H,
 * F feed-forward width, V vocabulary.
 */

import type { Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { readFlag, readLabelCount, readNumber, readRate, readSize } from "./config.ts";
import { type Rope, readRope, rotate } from "./rope.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface PhiConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly layer_norm_eps: number;
  readonly hidden_act: string;
  readonly qk_layernorm: boolean;
  readonly tie_word_embeddings: boolean;
  readonly rope: Rope;
  readonly embd_pdrop: number;
  readonly attention_dropout: number;
  readonly resid_pdrop: number;
  readonly classifier_dropout: number;
}

export const phi: Architecture<PhiConfig> = {
  modelTypes: ["phi"],
  basePrefix: "model.",
  defaultTargets: ["q_proj", "v_proj", "fc1", "fc2"],

  configure: (raw) => {
    const hidden_size = readSize(raw, "hidden_size", 2048);
    const num_attention_heads = readSize(raw, "num_attention_heads", 32);
    const num_key_value_heads = readSize(raw, "num_key_value_heads", num_attention_heads);
    const headWidth = Math.floor(hidden_size / num_attention_heads);
    return {
      hidden_size,
      num_attention_heads,
      num_key_value_heads,
      intermediate_size: readSize(raw, "intermediate_size", 8192),
      layer_norm_eps: readNumber(raw, "layer_norm_eps", 1e-5),
      hidden_act: readActivation(raw, "hidden_act", "gelu_new"),
      qk_layernorm: readFlag(raw, "qk_layernorm", false),
      tie_word_embeddings: readFlag(raw, "tie_word_embeddings", false),
      rope: readRope(raw, headWidth, readSize(raw, "max_position_embeddings", 2048), { partial: 0.5 }),
      embd_pdrop: readRate(raw, "embd_pdrop", 0),
      attention_dropout: readRate(raw, "attention_dropout", 0),
      resid_pdrop: readRate(raw, "resid_pdrop", 0),
      classifier_dropout: readRate(raw, "classifier_dropout", readRate(raw, "hidden_dropout", 0.1)),
      vocabularySize: readSize(raw, "vocab_size", 51200),
      maxPositions: null,
      hiddenSize: hidden_size,
      layers: readSize(raw, "num_hidden_layers", 24),
      keyValueHeads: num_key_value_heads,
      headWidth,
      labels: readLabelCount(raw),
    };
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C, vocabularySize: V, layers } = config;
    const tokens = w.embedded(w.embedding("model.embed_tokens", stream.ids, { rows: V, width: C }));
    let x = w.dropout(tokens, "embeddings", config.embd_pdrop); // [N, C]
    for (let layer = 0; layer < layers; layer++) {
      x = segment(stream, x, (y) => block(w, config, stream, layer, y));
    }
    return norm(w, config, "model.final_layernorm", x);
  },

  heads: {
    "causal-lm": {
      rows: "targets",
      logits: (w, { hidden_size: C, vocabularySize: V, tie_word_embeddings }, x) =>
        w.linear("lm_head", x, {
          in: C,
          out: V,
          bias: true,
          ...(tie_word_embeddings ? { weight: "model.embed_tokens.weight" } : {}),
        }),
    },
    "sequence-classification": { rows: "last", logits: (w, config, x) => score(w, config, x, false) },
    "token-classification": { rows: "targets", logits: tokenScores },
  },
};

function tokenScores(w: Weights, config: PhiConfig, x: Value): Value {
  return score(w, config, w.dropout(x, "score", config.classifier_dropout), true);
}

function score(w: Weights, { hidden_size: C, labels }: PhiConfig, x: Value, bias: boolean): Value {
  return w.linear("score", x, { in: C, out: labels, bias });
}

function block(w: Weights, config: PhiConfig, stream: Stream, layer: number, x: Value): Value {
  const at = `model.layers.${layer}`;
  const normed = norm(w, config, `${at}.input_layernorm`, x);
  const dropped = (y: Value, half: string): Value => w.dropout(y, `${at}.${half}`, config.resid_pdrop);
  const attended = dropped(selfAttention(w, config, stream, layer, normed), "self_attn");
  return add(x, add(attended, dropped(feedForward(w, config, `${at}.mlp`, normed), "mlp")));
}

function selfAttention(w: Weights, config: PhiConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H, num_key_value_heads: KV, headWidth: D, rope } = config;
  const at = `model.layers.${layer}.self_attn`;
  const project = (name: string, heads: number): Value =>
    splitHeads(w.linear(`${at}.${name}`, x, { in: C, out: heads * D, bias: true }), stream, heads, D); // [B, heads, T, D]
  const normed = (name: string, value: Value): Value =>
    config.qk_layernorm ? norm(w, config, `${at}.${name}`, value) : value;
  const q = rotate(normed("q_layernorm", project("q_proj", H)), stream, rope);
  const k = rotate(normed("k_layernorm", project("k_proj", KV)), stream, rope);
  const mixed = attention(w, stream, q, k, project("v_proj", KV), {
    layer,
    H,
    KV,
    D,
    scale: 1 / Math.sqrt(D),
    mask: { causal: true, window: null },
    dropout: config.attention_dropout,
  });
  return w.linear(`${at}.dense`, mixed, { in: H * D, out: C, bias: true });
}

function feedForward(w: Weights, config: PhiConfig, at: string, x: Value): Value {
  const { hidden_size: C, intermediate_size: F } = config;
  const inner = activate(config.hidden_act, w.linear(`${at}.fc1`, x, { in: C, out: F, bias: true }));
  return w.linear(`${at}.fc2`, inner, { in: F, out: C, bias: true });
}

/** Layer norm over x's last axis. */
function norm(w: Weights, { layer_norm_eps }: PhiConfig, at: string, x: Value): Value {
  const width = x.shape.at(-1)!;
  return layerNorm(x, w.get(`${at}.weight`, [width]), w.get(`${at}.bias`, [width]), layer_norm_eps);
}
