/**
 * BERT (Devlin et al. 2019): the whole forward pass, in this file; RoBERTa and ELECTRA take its layers from here.
 * Source of names and options: transformers `modeling_bert.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H heads, D = C / H, F inner, V vocabulary, M head rows.
 */

import type { Value } from "../graph/graph.ts";
import { tanh } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts, Head } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { type RawConfig, readFlag, readLabelCount, readNumber, readRate, readSize, refuseUnless } from "./config.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface BertConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly type_vocab_size: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
  readonly tie_word_embeddings: boolean;
  readonly hidden_dropout_prob: number;
  readonly attention_probs_dropout_prob: number;
  /** Of what classifiers read; hidden_dropout_prob where config.json has none. */
  readonly classifier_dropout: number;
}

const pooledClassifier: Head<BertConfig> = {
  rows: "first",
  logits: (w, { hidden_size: C, labels, classifier_dropout }, x) => {
    const pooled = tanh(w.linear("bert.pooler.dense", x, { in: C, out: C, bias: true })); // [M, C]
    return w.linear("classifier", w.dropout(pooled, "classifier", classifier_dropout), {
      in: C,
      out: labels,
      bias: true,
    });
  },
};

/** A linear layer for every token: the same in the whole family. */
export const tokenClassifier: Head<BertConfig> = {
  rows: "targets",
  logits: (w, { hidden_size: C, labels, classifier_dropout }, x) =>
    w.linear("classifier", w.dropout(x, "classifier", classifier_dropout), { in: C, out: labels, bias: true }),
};

export const bert: Architecture<BertConfig> = {
  modelTypes: ["bert"],
  basePrefix: "bert.",
  defaultTargets: ["query", "value"],
  configure: readBert,

  hidden: (w, config, stream) => {
    const { hidden_size: C, max_position_embeddings: rows } = config;
    const tokens = embedTokens(w, config, stream, "bert.embeddings", C);
    const x = add(tokens, w.embedding("bert.embeddings.position_embeddings", stream.positions, { rows, width: C }));
    return encoder(w, config, stream, "bert.encoder", embeddingNorm(w, config, "bert.embeddings", x));
  },

  heads: {
    "sequence-classification": pooledClassifier,
    "token-classification": tokenClassifier,
    "masked-lm": {
      rows: "targets",
      logits: (w, config, x) => {
        const { hidden_size: C, vocabularySize: V } = config;
        const inner = w.linear("cls.predictions.transform.dense", x, { in: C, out: C, bias: true });
        const active = activate(config.hidden_act, inner);
        const unit = norm(w, "cls.predictions.transform.LayerNorm", active, config.layer_norm_eps);
        const tied = config.tie_word_embeddings ? { weight: "bert.embeddings.word_embeddings.weight" } : {};
        return w.linear("cls.predictions.decoder", unit, { in: C, out: V, bias: true, ...tied });
      },
    },
  },

  spellings: (name) => (name === "cls.predictions.decoder.bias" ? ["cls.predictions.bias"] : olderNormSpellings(name)),
};

/** The fields that BERT and its relatives share. `defaults` are transformers' own for the family. */
export function readBert(raw: RawConfig, defaults: Partial<Record<string, number>> = {}): BertConfig {
  refuseUnless(raw, "is_decoder", [false]);
  refuseUnless(raw, "add_cross_attention", [false]);
  refuseUnless(raw, "position_embedding_type", ["absolute"]);
  const hidden_size = readSize(raw, "hidden_size", defaults["hidden_size"] ?? 768);
  const num_attention_heads = readSize(raw, "num_attention_heads", defaults["num_attention_heads"] ?? 12);
  const num_hidden_layers = readSize(raw, "num_hidden_layers", 12);
  const max_position_embeddings = readSize(raw, "max_position_embeddings", 512);
  const hidden_dropout_prob = readRate(raw, "hidden_dropout_prob", 0.1);
  return {
    hidden_dropout_prob,
    attention_probs_dropout_prob: readRate(raw, "attention_probs_dropout_prob", 0.1),
    classifier_dropout: readRate(raw, "classifier_dropout", hidden_dropout_prob),
    hidden_size,
    num_attention_heads,
    num_hidden_layers,
    max_position_embeddings,
    intermediate_size: readSize(raw, "intermediate_size", defaults["intermediate_size"] ?? 3072),
    type_vocab_size: readSize(raw, "type_vocab_size", 2),
    hidden_act: readActivation(raw, "hidden_act", "gelu"),
    layer_norm_eps: readNumber(raw, "layer_norm_eps", 1e-12),
    tie_word_embeddings: readFlag(raw, "tie_word_embeddings", true),
    vocabularySize: readSize(raw, "vocab_size", defaults["vocab_size"] ?? 30522),
    maxPositions: max_position_embeddings,
    hiddenSize: hidden_size,
    layers: num_hidden_layers,
    keyValueHeads: num_attention_heads,
    headWidth: hidden_size / num_attention_heads,
    labels: readLabelCount(raw),
  };
}

/** Embeddings of tokens and of their types [N, width]. */
export function embedTokens(w: Weights, config: BertConfig, stream: Stream, at: string, width: number): Value {
  const { vocabularySize, type_vocab_size } = config;
  const tokens = w.embedded(w.embedding(`${at}.word_embeddings`, stream.ids, { rows: vocabularySize, width }));
  return add(tokens, w.embedding(`${at}.token_type_embeddings`, stream.typeIds, { rows: type_vocab_size, width }));
}

/** What closes the embeddings x [N, width]. */
export function embeddingNorm(
  w: Weights,
  { layer_norm_eps, hidden_dropout_prob }: Pick<BertConfig, "layer_norm_eps" | "hidden_dropout_prob">,
  at: string,
  x: Value,
): Value {
  return w.dropout(norm(w, `${at}.LayerNorm`, x, layer_norm_eps), "embeddings", hidden_dropout_prob);
}

/** Every layer on x [N, C]; `at` is the encoder's name. */
export function encoder(w: Weights, config: BertConfig, stream: Stream, at: string, x: Value): Value {
  let y = x;
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    y = segment(stream, y, (z) => {
      const mixed = selfAttention(w, config, stream, `${at}.layer.${layer}.attention`, layer, z);
      return feedForward(w, config, `${at}.layer.${layer}`, mixed);
    });
  }
  return y;
}

function selfAttention(w: Weights, config: BertConfig, stream: Stream, at: string, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H } = config;
  const D = C / H;
  const project = (name: string): Value =>
    splitHeads(w.linear(`${at}.self.${name}`, x, { in: C, out: C, bias: true }), stream, H, D);
  const [q, k, v] = [project("query"), project("key"), project("value")];
  const dropout = config.attention_probs_dropout_prob;
  const options = { layer, H, KV: H, D, scale: 1 / Math.sqrt(D), mask: { causal: false, window: null }, dropout };
  return joined(w, config, `${at}.output`, C, attention(w, stream, q, k, v, options), x);
}

/** The second half of a layer: norm(x + W₂·act(W₁·x)), also of the DeBERTa models. */
export function feedForward(w: Weights, config: LayerFacts, at: string, x: Value): Value {
  const { hidden_size: C, intermediate_size: F } = config;
  const inner = w.linear(`${at}.intermediate.dense`, x, { in: C, out: F, bias: true });
  return joined(w, config, `${at}.output`, F, activate(config.hidden_act, inner), x);
}

type JoinFacts = Pick<BertConfig, "hidden_size" | "layer_norm_eps" | "hidden_dropout_prob">;
type LayerFacts = JoinFacts & Pick<BertConfig, "intermediate_size" | "hidden_act">;

/** What closes each half: norm(residual + W·x), x [N, width]. */
export function joined(
  w: Weights,
  { hidden_size: C, layer_norm_eps, hidden_dropout_prob }: JoinFacts,
  at: string,
  width: number,
  x: Value,
  residual: Value,
): Value {
  const y = w.linear(`${at}.dense`, x, { in: width, out: C, bias: true });
  return norm(w, `${at}.LayerNorm`, add(residual, w.dropout(y, at, hidden_dropout_prob)), layer_norm_eps);
}

export function norm(w: Weights, at: string, x: Value, epsilon: number): Value {
  const width = x.shape.at(-1)!;
  return layerNorm(x, w.get(`${at}.weight`, [width]), w.get(`${at}.bias`, [width]), epsilon);
}

/** Checkpoints converted from TensorFlow call a norm's gain gamma and its bias beta. */
export function olderNormSpellings(name: string): readonly string[] {
  if (name.endsWith(".LayerNorm.weight")) return [name.replace(/weight$/, "gamma")];
  if (name.endsWith(".LayerNorm.bias")) return [name.replace(/bias$/, "beta")];
  return [];
}
