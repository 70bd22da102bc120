/**
 * RoBERTa (Liu et al. 2019): BERT's encoder with positions that begin behind the padding token's id, and other heads.
 * XLM-RoBERTa and CamemBERT are the same model. Source of names and options: transformers `modeling_roberta.py`.
 * Letters in shapes: N tokens of all streams, C hidden, V vocabulary, M head rows.
 */

import type { Value } from "../graph/graph.ts";
import { gelu, tanh } from "../graph/ops/activation.ts";
import { add } from "../graph/ops/arithmetic.ts";
import type { Architecture, Head } from "./architecture.ts";
import {
  type BertConfig,
  embeddingNorm,
  embedTokens,
  encoder,
  norm,
  olderNormSpellings,
  readBert,
  tokenClassifier,
} from "./bert.ts";
import { readNumber } from "./config.ts";
import type { Layout, Stream } from "./stream.ts";

export interface RobertaConfig extends BertConfig {
  readonly pad_token_id: number;
}

const classifier: Head<RobertaConfig> = {
  rows: "first",
  logits: (w, { hidden_size: C, labels, classifier_dropout }, x) => {
    const first = w.dropout(x, "classifier.dense", classifier_dropout);
    const pooled = tanh(w.linear("classifier.dense", first, { in: C, out: C, bias: true })); // [M, C]
    const kept = w.dropout(pooled, "classifier.out_proj", classifier_dropout);
    return w.linear("classifier.out_proj", kept, { in: C, out: labels, bias: true });
  },
};

export const roberta: Architecture<RobertaConfig> = {
  modelTypes: ["roberta", "xlm-roberta", "camembert"],
  basePrefix: "roberta.",
  defaultTargets: ["query", "value"],

  configure: (raw) => {
    const config = readBert(raw, { vocab_size: 50265 });
    const pad_token_id = readNumber(raw, "pad_token_id", 1);
    return { ...config, pad_token_id, maxPositions: config.max_position_embeddings - pad_token_id - 1 };
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C, max_position_embeddings: rows } = config;
    const at = "roberta.embeddings";
    const tokens = embedTokens(w, config, stream, at, C);
    const positions = positionsBehind(stream, config.pad_token_id);
    const x = add(tokens, w.embedding(`${at}.position_embeddings`, positions, { rows, width: C }));
    return encoder(w, config, stream, "roberta.encoder", embeddingNorm(w, config, at, x));
  },

  heads: {
    "sequence-classification": classifier,
    "token-classification": tokenClassifier,
    "masked-lm": {
      rows: "targets",
      logits: (w, config, x) => {
        const { hidden_size: C, vocabularySize: V } = config;
        const active = gelu(w.linear("lm_head.dense", x, { in: C, out: C, bias: true })); // whatever hidden_act says
        const unit = norm(w, "lm_head.layer_norm", active, config.layer_norm_eps);
        const tied = config.tie_word_embeddings ? { weight: "roberta.embeddings.word_embeddings.weight" } : {};
        return w.linear("lm_head.decoder", unit, { in: C, out: V, bias: true, ...tied });
      },
    },
  },

  spellings: (name) => (name === "lm_head.decoder.bias" ? ["lm_head.bias"] : olderNormSpellings(name)),
};

/** Positions [N] that count from `pad` + 1; padding tokens inside a row stand at `pad` and are not counted. */
function positionsBehind(stream: Stream, pad: number): Value {
  return stream.derive(
    "roberta.positions",
    ({ N }) => [N],
    "i32",
    (layout) => ({
      dtype: "i32",
      shape: [layout.positions.length],
      data: countPositions(layout, pad),
    }),
  );
}

function countPositions({ ids, positions, segments, virtual }: Layout, pad: number): Int32Array {
  const padding = new Map<number, number>(); // padding tokens so far, by row
  return positions.map((position, token) => {
    const row = segments[token]!;
    const passed = padding.get(row) ?? 0;
    if (row < 0 || (ids[token] === pad && virtual[token] === 0)) {
      padding.set(row, passed + 1);
      return pad;
    }
    return position - passed + pad + 1;
  });
}
