/**
 * GPT-2 (Radford et al. 2019): the whole forward pass, in this file.
 * Sources: github.com/openai/gpt-2 `src/model.py`; names and options from transformers `modeling_gpt2.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H heads, D = C / H, V vocabulary.
 */

import type { Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { split } from "../graph/ops/movement.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { readFlag, readLabelCount, readNumber, readRate, readSize, refuseUnless } from "./config.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface Gpt2Config extends ArchitectureFacts {
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_inner: number;
  readonly n_positions: number;
  readonly layer_norm_epsilon: number;
  readonly activation_function: string;
  readonly scale_attn_weights: boolean;
  readonly scale_attn_by_inverse_layer_idx: boolean;
  readonly tie_word_embeddings: boolean;
  readonly embd_pdrop: number;
  readonly attn_pdrop: number;
  readonly resid_pdrop: number;
}

export const gpt2: Architecture<Gpt2Config> = {
  modelTypes: ["gpt2"],
  basePrefix: "transformer.",
  defaultTargets: ["c_attn"],

  configure: (raw) => {
    refuseUnless(raw, "add_cross_attention", [false]);
    const n_embd = readSize(raw, "n_embd", 768);
    const n_head = readSize(raw, "n_head", 12);
    const n_layer = readSize(raw, "n_layer", 12);
    const n_positions = readSize(raw, "n_positions", 1024);
    return {
      n_embd,
      n_head,
      n_layer,
      n_positions,
      n_inner: readSize(raw, "n_inner", 4 * n_embd),
      layer_norm_epsilon: readNumber(raw, "layer_norm_epsilon", 1e-5),
      activation_function: readActivation(raw, "activation_function", "gelu_new"),
      scale_attn_weights: readFlag(raw, "scale_attn_weights", true),
      scale_attn_by_inverse_layer_idx: readFlag(raw, "scale_attn_by_inverse_layer_idx", false),
      embd_pdrop: readRate(raw, "embd_pdrop", 0.1),
      attn_pdrop: readRate(raw, "attn_pdrop", 0.1),
      resid_pdrop: readRate(raw, "resid_pdrop", 0.1),
      tie_word_embeddings: readFlag(raw, "tie_word_embeddings", true),
      vocabularySize: readSize(raw, "vocab_size", 50257),
      maxPositions: n_positions,
      hiddenSize: n_embd,
      layers: n_layer,
      keyValueHeads: n_head,
      headWidth: n_embd / n_head,
      labels: readLabelCount(raw),
    };
  },

  hidden: (w, config, stream) => {
    const { n_embd: C, n_layer, n_positions, vocabularySize: V } = config;
    const tokens = w.embedded(w.embedding("transformer.wte", stream.ids, { rows: V, width: C }));
    const placed = add(tokens, w.embedding("transformer.wpe", stream.positions, { rows: n_positions, width: C }));
    let x = w.dropout(placed, "embeddings", config.embd_pdrop); // [N, C]
    for (let layer = 0; layer < n_layer; layer++) {
      x = segment(stream, x, (y) => block(w, config, stream, layer, y));
    }
    return norm(w, config, "transformer.ln_f", x);
  },

  heads: {
    "causal-lm": {
      rows: "targets",
      logits: (w, { n_embd: C, vocabularySize: V, tie_word_embeddings }, x) =>
        w.linear("lm_head", x, {
          in: C,
          out: V,
          bias: false,
          ...(tie_word_embeddings ? { weight: "transformer.wte.weight" } : {}),
        }),
    },
    "sequence-classification": {
      rows: "last",
      logits: (w, { n_embd: C, labels }, x) => w.linear("score", x, { in: C, out: labels, bias: false }),
    },
  },
};

function block(w: Weights, config: Gpt2Config, stream: Stream, layer: number, x: Value): Value {
  const at = `transformer.h.${layer}`;
  const y = add(x, selfAttention(w, config, stream, layer, norm(w, config, `${at}.ln_1`, x)));
  return add(y, feedForward(w, config, at, norm(w, config, `${at}.ln_2`, y)));
}

function selfAttention(w: Weights, config: Gpt2Config, stream: Stream, layer: number, x: Value): Value {
  const { n_head: H, n_embd: C } = config;
  const at = `transformer.h.${layer}.attn`;
  const D = C / H;
  const qkv = w.linear(`${at}.c_attn`, x, { in: C, out: 3 * C, bias: true, layout: "in,out" }); // [N, 3C]
  const [q, k, v] = split(qkv, 3, -1).map((part) => splitHeads(part, stream, H, D)) as [Value, Value, Value];
  let scale = config.scale_attn_weights ? 1 / Math.sqrt(D) : 1;
  if (config.scale_attn_by_inverse_layer_idx) scale /= layer + 1;
  const options = { layer, H, KV: H, D, scale, mask: { causal: true, window: null }, dropout: config.attn_pdrop };
  const mixed = attention(w, stream, q, k, v, options);
  const y = w.linear(`${at}.c_proj`, mixed, { in: C, out: C, bias: true, layout: "in,out" });
  return w.dropout(y, at, config.resid_pdrop);
}

function feedForward(w: Weights, config: Gpt2Config, at: string, x: Value): Value {
  const { n_embd: C, n_inner: F } = config;
  const inner = w.linear(`${at}.mlp.c_fc`, x, { in: C, out: F, bias: true, layout: "in,out" });
  const active = activate(config.activation_function, inner);
  const y = w.linear(`${at}.mlp.c_proj`, active, { in: F, out: C, bias: true, layout: "in,out" });
  return w.dropout(y, `${at}.mlp`, config.resid_pdrop);
}

function norm(w: Weights, { n_embd: C, layer_norm_epsilon }: Gpt2Config, at: string, x: Value): Value {
  return layerNorm(x, w.get(`${at}.weight`, [C]), w.get(`${at}.bias`, [C]), layer_norm_epsilon);
}
