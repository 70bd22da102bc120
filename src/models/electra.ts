/**
 * ELECTRA (Clark et al. 2020): BERT's encoder behind narrower embeddings, as discriminator or generator.
 * Source of names and options: transformers `modeling_electra.py`.
 * Letters in shapes: N tokens of all streams, E embedding width, C hidden, V vocabulary, M head rows.
 */

import { gelu } from "../graph/ops/activation.ts";
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
import { readSize } from "./config.ts";

export interface ElectraConfig extends BertConfig {
  readonly embedding_size: number;
}

const classifier: Head<ElectraConfig> = {
  rows: "first",
  logits: (w, { hidden_size: C, labels, classifier_dropout }, x) => {
    const first = w.dropout(x, "classifier.dense", classifier_dropout);
    const pooled = gelu(w.linear("classifier.dense", first, { in: C, out: C, bias: true })); // [M, C]
    const kept = w.dropout(pooled, "classifier.out_proj", classifier_dropout);
    return w.linear("classifier.out_proj", kept, { in: C, out: labels, bias: true });
  },
};

export const electra: Architecture<ElectraConfig> = {
  modelTypes: ["electra"],
  basePrefix: "electra.",
  defaultTargets: ["query", "value"],

  configure: (raw) => ({
    ...readBert(raw, { hidden_size: 256, num_attention_heads: 4, intermediate_size: 1024 }),
    embedding_size: readSize(raw, "embedding_size", 128),
  }),

  hidden: (w, config, stream) => {
    const { hidden_size: C, embedding_size: E, max_position_embeddings: rows } = config;
    const at = "electra.embeddings";
    const tokens = embedTokens(w, config, stream, at, E);
    const summed = add(tokens, w.embedding(`${at}.position_embeddings`, stream.positions, { rows, width: E }));
    const unit = embeddingNorm(w, config, at, summed); // [N, E]
    const x = E === C ? unit : w.linear("electra.embeddings_project", unit, { in: E, out: C, bias: true });
    return encoder(w, config, stream, "electra.encoder", x);
  },

  heads: {
    "sequence-classification": classifier,
    "token-classification": tokenClassifier,
    "masked-lm": {
      rows: "targets",
      logits: (w, config, x) => {
        const { hidden_size: C, embedding_size: E, vocabularySize: V } = config;
        const active = gelu(w.linear("generator_predictions.dense", x, { in: C, out: E, bias: true }));
        const unit = norm(w, "generator_predictions.LayerNorm", active, config.layer_norm_eps); // [M, E]
        const tied = config.tie_word_embeddings ? { weight: "electra.embeddings.word_embeddings.weight" } : {};
        return w.linear("generator_lm_head", unit, { in: E, out: V, bias: true, ...tied });
      },
    },
  },

  spellings: olderNormSpellings,
};
