/**
 * DeBERTa, first version (He et al. 2021): the whole forward pass but the attention itself (`disentangled.ts`).
 * Source of names and options: transformers `modeling_deberta.py`. The second version takes embeddings and heads here.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H heads, D = C / H, E embedding width, M head rows.
 */

import { ModelError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { split, transpose } from "../graph/ops/movement.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts, Head } from "./architecture.ts";
import { embeddingNorm, feedForward, joined, norm, olderNormSpellings } from "./bert.ts";
import { type RawConfig, readFlag, readLabelCount, readNumber, readRate, readSize, refuseUnless } from "./config.ts";
import { type Distances, disentangledAttention, distances, plainRow } from "./disentangled.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface DebertaConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly embedding_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly type_vocab_size: number;
  readonly hidden_act: string;
  readonly pooler_hidden_act: string;
  readonly layer_norm_eps: number;
  readonly relative_attention: boolean;
  /** The furthest distance with a row of its own; `max_position_embeddings` where config.json says -1. */
  readonly max_relative_positions: number;
  readonly position_biased_input: boolean;
  readonly pos_att_type: readonly string[];
  /** Which of the two masked-LM heads the checkpoint has: `cls` or `lm_predictions`. */
  readonly legacy: boolean;
  readonly tie_word_embeddings: boolean;
  readonly hidden_dropout_prob: number;
  readonly attention_probs_dropout_prob: number;
  readonly pooler_dropout: number;
  /** Of what row classifiers read. */
  readonly cls_dropout: number;
}

const pooledClassifier: Head<DebertaConfig> = {
  rows: "first",
  logits: (w, { hidden_size: C, labels, pooler_hidden_act, pooler_dropout, cls_dropout }, x) => {
    const first = w.dropout(x, "pooler", pooler_dropout);
    const pooled = activate(pooler_hidden_act, w.linear("pooler.dense", first, { in: C, out: C, bias: true })); // [M, C]
    return w.linear("classifier", w.dropout(pooled, "classifier", cls_dropout), { in: C, out: labels, bias: true });
  },
};

export const debertaHeads: Architecture<DebertaConfig>["heads"] = {
  "sequence-classification": pooledClassifier,
  "token-classification": {
    rows: "targets",
    logits: (w, { hidden_size: C, labels, hidden_dropout_prob }, x) =>
      w.linear("classifier", w.dropout(x, "classifier", hidden_dropout_prob), { in: C, out: labels, bias: true }),
  },
  "masked-lm": {
    rows: "targets",
    logits: (w, config, x) => (config.legacy ? legacyPredictions(w, config, x) : predictions(w, config, x)),
  },
};

export const deberta: Architecture<DebertaConfig> = {
  modelTypes: ["deberta"],
  basePrefix: "deberta.",
  defaultTargets: ["in_proj"],
  configure: (raw) => {
    refuseUnless(raw, "talking_head", [false]);
    return readDeberta(raw, { hidden_size: 768, heads: 12, layers: 12, intermediate_size: 3072, vocab_size: 50265 });
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C, max_relative_positions: span } = config;
    let x = debertaEmbeddings(w, config, stream); // [N, C]
    const table = config.relative_attention ? w.get("deberta.encoder.rel_embeddings.weight", [2 * span, C]) : null;
    const places = (layer: number): Distances | null =>
      table && distances(droppedTable(w, config, layer, table), stream, (distance) => plainRow(distance, span));
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const at = `deberta.encoder.layer.${layer}`;
      x = segment(stream, x, (y) => {
        const mixed = selfAttention(w, config, stream, layer, y, places(layer));
        return feedForward(w, config, at, joined(w, config, `${at}.attention.output`, C, mixed, y));
      });
    }
    return x;
  },

  heads: debertaHeads,
  spellings: debertaSpellings,
};

function selfAttention(
  w: Weights,
  config: DebertaConfig,
  stream: Stream,
  layer: number,
  x: Value,
  places: Distances | null,
): Value {
  const { hidden_size: C, num_attention_heads: H, pos_att_type } = config;
  const { B, T } = stream;
  const D = C / H;
  const at = `deberta.encoder.layer.${layer}.attention.self`;
  // Head after head, each its query, key and value.
  const fused = reshape(w.linear(`${at}.in_proj`, x, { in: C, out: 3 * C, bias: false }), [B, T, H, 3 * D]);
  const [q, k, v] = split(transpose(fused, [0, 2, 1, 3]), 3, -1) as [Value, Value, Value]; // [B, H, T, D]
  const bias = (name: string): Value => reshape(w.get(`${at}.${name}`, [C]), [1, H, 1, D]);
  return disentangledAttention(w, stream, {
    layer,
    q: add(q, bias("q_bias")),
    k,
    v: add(v, bias("v_bias")),
    distanceKeys:
      places && pos_att_type.includes("c2p")
        ? w.linear(`${at}.pos_proj`, places.falling, { in: C, out: C, bias: false })
        : null,
    distanceQueries:
      places && pos_att_type.includes("p2c")
        ? w.linear(`${at}.pos_q_proj`, places.rising, { in: C, out: C, bias: true })
        : null,
    scale: 1 / Math.sqrt(D * (1 + pos_att_type.length)),
    dropout: config.attention_probs_dropout_prob,
  });
}

/** The table of distances as a layer of its own draws it. */
export function droppedTable(
  w: Weights,
  { hidden_dropout_prob }: Pick<DebertaConfig, "hidden_dropout_prob">,
  layer: number,
  table: Value,
): Value {
  return w.dropout(table, `distances.${layer}`, hidden_dropout_prob);
}

interface DebertaDefaults {
  readonly hidden_size: number;
  readonly heads: number;
  readonly layers: number;
  readonly intermediate_size: number;
  readonly vocab_size: number;
}

/** The fields that both versions share. */
export function readDeberta(raw: RawConfig, defaults: DebertaDefaults): DebertaConfig {
  const hidden_size = readSize(raw, "hidden_size", defaults.hidden_size);
  const num_attention_heads = readSize(raw, "num_attention_heads", defaults.heads);
  const num_hidden_layers = readSize(raw, "num_hidden_layers", defaults.layers);
  const max_position_embeddings = readSize(raw, "max_position_embeddings", 512);
  const furthest = readNumber(raw, "max_relative_positions", -1);
  const position_biased_input = readFlag(raw, "position_biased_input", true);
  const hidden_dropout_prob = readRate(raw, "hidden_dropout_prob", 0.1);
  refuseUnless(raw, "pooler_hidden_size", [hidden_size]);
  refuseUnless(raw, "attention_head_size", [hidden_size / num_attention_heads]);
  return {
    hidden_size,
    num_attention_heads,
    num_hidden_layers,
    max_position_embeddings,
    position_biased_input,
    hidden_dropout_prob,
    attention_probs_dropout_prob: readRate(raw, "attention_probs_dropout_prob", 0.1),
    pooler_dropout: readRate(raw, "pooler_dropout", 0),
    cls_dropout: readRate(raw, "cls_dropout", hidden_dropout_prob),
    embedding_size: readSize(raw, "embedding_size", hidden_size),
    intermediate_size: readSize(raw, "intermediate_size", defaults.intermediate_size),
    type_vocab_size: readNumber(raw, "type_vocab_size", 0),
    hidden_act: readActivation(raw, "hidden_act", "gelu"),
    pooler_hidden_act: readActivation(raw, "pooler_hidden_act", "gelu"),
    layer_norm_eps: readNumber(raw, "layer_norm_eps", 1e-7),
    relative_attention: readFlag(raw, "relative_attention", false),
    max_relative_positions: furthest < 1 ? max_position_embeddings : furthest,
    pos_att_type: readTerms(raw),
    legacy: readFlag(raw, "legacy", true),
    tie_word_embeddings: readFlag(raw, "tie_word_embeddings", true),
    vocabularySize: readSize(raw, "vocab_size", defaults.vocab_size),
    maxPositions: position_biased_input ? max_position_embeddings : null,
    hiddenSize: hidden_size,
    layers: num_hidden_layers,
    keyValueHeads: num_attention_heads,
    headWidth: hidden_size / num_attention_heads,
    labels: readLabelCount(raw),
  };
}

/** `pos_att_type`: a list, or names with | between them. */
function readTerms(raw: RawConfig): string[] {
  const value = raw["pos_att_type"] ?? [];
  const terms = typeof value === "string" ? value.toLowerCase().split("|") : value;
  const named = Array.isArray(terms) ? terms.map((term) => String(term).trim()).filter((term) => term !== "") : [null];
  const unknown = named.find((term) => term !== "c2p" && term !== "p2c");
  if (unknown === undefined) return named as string[];
  throw new ModelError(`config.json: pos_att_type ${JSON.stringify(value)} is not supported; supported: c2p, p2c`);
}

/** Embeddings of tokens, positions and types as far as the model has them, to the hidden width and normed [N, C]. */
export function debertaEmbeddings(w: Weights, config: DebertaConfig, stream: Stream): Value {
  const { hidden_size: C, embedding_size: width, max_position_embeddings, type_vocab_size } = config;
  const at = "deberta.embeddings";
  let x = w.embedded(w.embedding(`${at}.word_embeddings`, stream.ids, { rows: config.vocabularySize, width }));
  if (config.position_biased_input) {
    const spec = { rows: max_position_embeddings, width };
    x = add(x, w.embedding(`${at}.position_embeddings`, stream.positions, spec));
  }
  if (type_vocab_size > 0) {
    x = add(x, w.embedding(`${at}.token_type_embeddings`, stream.typeIds, { rows: type_vocab_size, width }));
  }
  if (width !== C) x = w.linear(`${at}.embed_proj`, x, { in: width, out: C, bias: false });
  return embeddingNorm(w, config, at, x);
}

function legacyPredictions(w: Weights, config: DebertaConfig, x: Value): Value {
  const { hidden_size: C, embedding_size: E, vocabularySize: V } = config;
  const inner = w.linear("cls.predictions.transform.dense", x, { in: C, out: E, bias: true });
  const active = activate(config.hidden_act, inner);
  const unit = norm(w, "cls.predictions.transform.LayerNorm", active, config.layer_norm_eps); // [M, E]
  const tied = config.tie_word_embeddings ? { weight: "deberta.embeddings.word_embeddings.weight" } : {};
  return w.linear("cls.predictions.decoder", unit, { in: E, out: V, bias: true, ...tied });
}

/** The head of the original code: always tied, and with a bias of its own. */
function predictions(w: Weights, config: DebertaConfig, x: Value): Value {
  const { hidden_size: C, vocabularySize: V } = config;
  const at = "lm_predictions.lm_head";
  const active = activate(config.hidden_act, w.linear(`${at}.dense`, x, { in: C, out: C, bias: true }));
  const unit = norm(w, `${at}.LayerNorm`, active, config.layer_norm_eps);
  const table = w.get("deberta.embeddings.word_embeddings.weight", [V, C]);
  return add(matMul(unit, table, { transB: true }), w.get(`${at}.bias`, [V]));
}

export function debertaSpellings(name: string): readonly string[] {
  return name === "cls.predictions.decoder.bias" ? ["cls.predictions.bias"] : olderNormSpellings(name);
}
