/**
 * DistilBERT (Sanh et al. 2019): the whole forward pass, in this file.
 * Source of names and options: transformers `modeling_distilbert.py`.
 * Letters in shapes: N tokens of all streams, C hidden, H heads, D = C / H, F inner, V vocabulary, M head rows.
 */

import type { Value } from "../graph/graph.ts";
import { relu } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts, Head } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { norm, olderNormSpellings } from "./bert.ts";
import { readFlag, readLabelCount, readRate, readSize } from "./config.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface DistilBertConfig extends ArchitectureFacts {
  readonly dim: number;
  readonly hidden_dim: number;
  readonly n_layers: number;
  readonly n_heads: number;
  readonly max_position_embeddings: number;
  readonly activation: string;
  readonly tie_word_embeddings: boolean;
  readonly dropout: number;
  readonly attention_dropout: number;
  readonly seq_classif_dropout: number;
}

/** Fixed in this architecture, whatever config.json says. */
const EPSILON = 1e-12;

const classifier: Head<DistilBertConfig> = {
  rows: "first",
  logits: (w, { dim: C, labels, seq_classif_dropout }, x) => {
    const pooled = relu(w.linear("pre_classifier", x, { in: C, out: C, bias: true })); // [M, C]
    return w.linear("classifier", w.dropout(pooled, "classifier", seq_classif_dropout), {
      in: C,
      out: labels,
      bias: true,
    });
  },
};

export const distilbert: Architecture<DistilBertConfig> = {
  modelTypes: ["distilbert"],
  basePrefix: "distilbert.",
  defaultTargets: ["q_lin", "v_lin"],

  // sinusoidal_pos_embds only chooses initial values: the table is in the checkpoint either way.
  configure: (raw) => {
    const dim = readSize(raw, "dim", 768);
    const n_heads = readSize(raw, "n_heads", 12);
    const n_layers = readSize(raw, "n_layers", 6);
    const max_position_embeddings = readSize(raw, "max_position_embeddings", 512);
    return {
      dim,
      n_heads,
      n_layers,
      max_position_embeddings,
      hidden_dim: readSize(raw, "hidden_dim", 3072),
      activation: readActivation(raw, "activation", "gelu"),
      dropout: readRate(raw, "dropout", 0.1),
      attention_dropout: readRate(raw, "attention_dropout", 0.1),
      seq_classif_dropout: readRate(raw, "seq_classif_dropout", 0.2),
      tie_word_embeddings: readFlag(raw, "tie_word_embeddings", true),
      vocabularySize: readSize(raw, "vocab_size", 30522),
      maxPositions: max_position_embeddings,
      hiddenSize: dim,
      layers: n_layers,
      keyValueHeads: n_heads,
      headWidth: dim / n_heads,
      labels: readLabelCount(raw),
    };
  },

  hidden: (w, config, stream) => {
    const { dim: width, vocabularySize, max_position_embeddings } = config;
    const at = "distilbert.embeddings";
    const tokens = w.embedded(w.embedding(`${at}.word_embeddings`, stream.ids, { rows: vocabularySize, width }));
    const positions = w.embedding(`${at}.position_embeddings`, stream.positions, {
      rows: max_position_embeddings,
      width,
    });
    let x = w.dropout(norm(w, `${at}.LayerNorm`, add(tokens, positions), EPSILON), "embeddings", config.dropout); // [N, C]
    for (let layer = 0; layer < config.n_layers; layer++) {
      x = segment(stream, x, (y) => block(w, config, stream, layer, y));
    }
    return x;
  },

  heads: {
    "sequence-classification": classifier,
    "token-classification": {
      rows: "targets",
      logits: (w, { dim: C, labels, dropout }, x) =>
        w.linear("classifier", w.dropout(x, "classifier", dropout), { in: C, out: labels, bias: true }),
    },
    "masked-lm": {
      rows: "targets",
      logits: (w, config, x) => {
        const { dim: C, vocabularySize: V } = config;
        const active = activate(config.activation, w.linear("vocab_transform", x, { in: C, out: C, bias: true }));
        const unit = norm(w, "vocab_layer_norm", active, EPSILON);
        const tied = config.tie_word_embeddings ? { weight: "distilbert.embeddings.word_embeddings.weight" } : {};
        return w.linear("vocab_projector", unit, { in: C, out: V, bias: true, ...tied });
      },
    },
  },

  spellings: olderNormSpellings,
};

function block(w: Weights, config: DistilBertConfig, stream: Stream, layer: number, x: Value): Value {
  const at = `distilbert.transformer.layer.${layer}`;
  const y = norm(w, `${at}.sa_layer_norm`, add(x, selfAttention(w, config, stream, layer, x)), EPSILON);
  return norm(w, `${at}.output_layer_norm`, add(y, feedForward(w, config, `${at}.ffn`, y)), EPSILON);
}

function selfAttention(w: Weights, config: DistilBertConfig, stream: Stream, layer: number, x: Value): Value {
  const { dim: C, n_heads: H } = config;
  const at = `distilbert.transformer.layer.${layer}.attention`;
  const D = C / H;
  const project = (name: string): Value =>
    splitHeads(w.linear(`${at}.${name}`, x, { in: C, out: C, bias: true }), stream, H, D);
  const [q, k, v] = [project("q_lin"), project("k_lin"), project("v_lin")];
  const dropout = config.attention_dropout;
  const options = { layer, H, KV: H, D, scale: 1 / Math.sqrt(D), mask: { causal: false, window: null }, dropout };
  return w.linear(`${at}.out_lin`, attention(w, stream, q, k, v, options), { in: C, out: C, bias: true });
}

function feedForward(w: Weights, config: DistilBertConfig, at: string, x: Value): Value {
  const { dim: C, hidden_dim: F, activation, dropout } = config;
  const active = activate(activation, w.linear(`${at}.lin1`, x, { in: C, out: F, bias: true }));
  return w.dropout(w.linear(`${at}.lin2`, active, { in: F, out: C, bias: true }), at, dropout);
}
