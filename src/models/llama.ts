/**
 * Llama (Touvron et al. 2023): the whole forward pass, in this file.
 * Source of names and options: transformers `modeling_llama.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H query heads, KV key and value heads, D head width.
 */

import type { Value } from "../graph/graph.ts";
import { silu } from "../graph/ops/activation.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { rmsNorm } from "../graph/ops/norm.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { readChoice, readFlag, readLabelCount, readNumber, readSize, refuseUnless } from "./config.ts";
import { type Rope, readRope, rotate } from "./rope.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface LlamaConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly rms_norm_eps: number;
  readonly attention_bias: boolean;
  readonly mlp_bias: boolean;
  readonly tie_word_embeddings: boolean;
  readonly rope: Rope;
}

export const llama: Architecture<LlamaConfig> = {
  modelTypes: ["llama"],
  basePrefix: "model.",
  defaultTargets: ["q_proj", "v_proj"],

  configure: (raw) => {
    readChoice(raw, "hidden_act", ["silu"], "silu");
    refuseUnless(raw, "pretraining_tp", [1]);
    const hidden_size = readSize(raw, "hidden_size", 4096);
    const num_attention_heads = readSize(raw, "num_attention_heads", 32);
    const num_hidden_layers = readSize(raw, "num_hidden_layers", 32);
    const num_key_value_heads = readSize(raw, "num_key_value_heads", num_attention_heads);
    const head_dim = readSize(raw, "head_dim", hidden_size / num_attention_heads);
    return {
      hidden_size,
      num_attention_heads,
      num_hidden_layers,
      num_key_value_heads,
      head_dim,
      intermediate_size: readSize(raw, "intermediate_size", 11008),
      rms_norm_eps: readNumber(raw, "rms_norm_eps", 1e-6),
      attention_bias: readFlag(raw, "attention_bias", false),
      mlp_bias: readFlag(raw, "mlp_bias", false),
      tie_word_embeddings: readFlag(raw, "tie_word_embeddings", false),
      rope: readRope(raw, head_dim, readSize(raw, "max_position_embeddings", 2048)),
      vocabularySize: readSize(raw, "vocab_size", 32000),
      maxPositions: null,
      hiddenSize: hidden_size,
      layers: num_hidden_layers,
      keyValueHeads: num_key_value_heads,
      headWidth: head_dim,
      labels: readLabelCount(raw),
    };
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C, num_hidden_layers, rms_norm_eps, vocabularySize: V } = config;
    let x = w.embedded(w.embedding("model.embed_tokens", stream.ids, { rows: V, width: C })); // [N, C]
    for (let layer = 0; layer < num_hidden_layers; layer++) x = block(w, config, stream, layer, x);
    return rmsNorm(x, w.get("model.norm.weight", [C]), rms_norm_eps);
  },

  heads: {
    "causal-lm": {
      rows: "targets",
      logits: (w, { hidden_size: C, vocabularySize: V, tie_word_embeddings }, x) =>
        w.linear("lm_head", x, {
          in: C,
          out: V,
          bias: false,
          ...(tie_word_embeddings ? { weight: "model.embed_tokens.weight" } : {}),
        }),
    },
    "sequence-classification": {
      rows: "last",
      logits: (w, { hidden_size: C, labels }, x) => w.linear("score", x, { in: C, out: labels, bias: false }),
    },
  },
};

function block(w: Weights, config: LlamaConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, rms_norm_eps } = config;
  const at = `model.layers.${layer}`;
  const norm = (name: string, value: Value): Value => rmsNorm(value, w.get(`${at}.${name}.weight`, [C]), rms_norm_eps);
  const y = add(x, selfAttention(w, config, stream, layer, norm("input_layernorm", x)));
  return add(y, feedForward(w, config, at, norm("post_attention_layernorm", y)));
}

function selfAttention(w: Weights, config: LlamaConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H, num_key_value_heads: KV, head_dim: D, attention_bias: bias } = config;
  const at = `model.layers.${layer}.self_attn`;
  const project = (name: string, heads: number): Value =>
    splitHeads(w.linear(`${at}.${name}`, x, { in: C, out: heads * D, bias }), stream, heads, D); // [B, heads, T, D]
  const q = rotate(project("q_proj", H), stream, config.rope);
  const k = rotate(project("k_proj", KV), stream, config.rope);
  const mixed = attention(w, stream, q, k, project("v_proj", KV), {
    layer,
    H,
    KV,
    D,
    scale: 1 / Math.sqrt(D),
    mask: { causal: true, window: null },
  });
  return w.linear(`${at}.o_proj`, mixed, { in: H * D, out: C, bias });
}

function feedForward(w: Weights, config: LlamaConfig, at: string, x: Value): Value {
  const { hidden_size: C, intermediate_size: F, mlp_bias: bias } = config;
  const gate = silu(w.linear(`${at}.mlp.gate_proj`, x, { in: C, out: F, bias }));
  const up = w.linear(`${at}.mlp.up_proj`, x, { in: C, out: F, bias });
  return w.linear(`${at}.mlp.down_proj`, mul(gate, up), { in: F, out: C, bias });
}
