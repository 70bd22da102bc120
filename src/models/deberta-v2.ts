/**
 * DeBERTa, versions 2 and 3 (He et al. 2021, 2023): the whole forward pass but the attention itself (`disentangled.ts`)
 * and what it shares with the first version (`deberta.ts`). Source of names and options: transformers
 * `modeling_deberta_v2.py`.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H heads, D = C / H, K width of the convolution.
 */

import { ModelError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { reshape, zerosOf } from "../graph/ops/broadcast.ts";
import { gemm } from "../graph/ops/matmul.ts";
import { concat, slice, transpose } from "../graph/ops/movement.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture } from "./architecture.ts";
import { splitHeads } from "./attention.ts";
import { feedForward, joined, norm } from "./bert.ts";
import { readFlag, readNumber, refuseUnless } from "./config.ts";
import {
  type DebertaConfig,
  debertaEmbeddings,
  debertaHeads,
  debertaSpellings,
  droppedTable,
  readDeberta,
} from "./deberta.ts";
import { bucketRow, type Distances, disentangledAttention, distances, plainRow } from "./disentangled.ts";
import { segment } from "./segment.ts";
import type { Layout, Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface DebertaV2Config extends DebertaConfig {
  /** Whether distances go through the tokens' own query and key projections. */
  readonly share_att_key: boolean;
  /** Logarithmic buckets a side; 0 for a row a distance. */
  readonly position_buckets: number;
  /** Whether the table of distances is normed. */
  readonly norm_rel_ebd: boolean;
  /** Width of the convolution beside the first layer; 0 for none. */
  readonly conv_kernel_size: number;
  readonly conv_act: string;
}

export const debertaV2: Architecture<DebertaV2Config> = {
  modelTypes: ["deberta-v2"],
  basePrefix: "deberta.",
  defaultTargets: ["query_proj", "value_proj"],

  configure: (raw) => {
    refuseUnless(raw, "conv_groups", [1]);
    const conv_kernel_size = Math.max(0, readNumber(raw, "conv_kernel_size", 0));
    if (conv_kernel_size > 0 && conv_kernel_size % 2 !== 1) {
      throw new ModelError(`config.json: conv_kernel_size is ${conv_kernel_size}, needed an odd number`);
    }
    return {
      ...readDeberta(raw, { hidden_size: 1536, heads: 24, layers: 24, intermediate_size: 6144, vocab_size: 128100 }),
      conv_kernel_size,
      conv_act: readActivation(raw, "conv_act", "tanh"),
      share_att_key: readFlag(raw, "share_att_key", false),
      position_buckets: Math.max(0, readNumber(raw, "position_buckets", -1)),
      norm_rel_ebd: readNorm(raw["norm_rel_ebd"]),
    };
  },

  hidden: (w, config, stream) => {
    const { hidden_size: C } = config;
    const embedded = debertaEmbeddings(w, config, stream); // [N, C]
    const places = distancesByLayer(w, config, stream);
    let x = embedded;
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const at = `deberta.encoder.layer.${layer}`;
      x = segment(stream, x, (y) => {
        const mixed = selfAttention(w, config, stream, layer, y, places(layer));
        return feedForward(w, config, at, joined(w, config, `${at}.attention.output`, C, mixed, y));
      });
      if (layer === 0 && config.conv_kernel_size > 0) x = convolved(w, config, stream, embedded, x);
    }
    return x;
  },

  heads: debertaHeads,
  spellings: debertaSpellings,
};

/** `norm_rel_ebd`: names with | between them, of which "layer_norm" has a meaning. */
function readNorm(value: unknown): boolean {
  const names = String(value ?? "none")
    .toLowerCase()
    .split("|")
    .map((name) => name.trim());
  const unknown = names.find((name) => name !== "layer_norm" && name !== "none");
  if (unknown !== undefined) {
    throw new ModelError(`config.json: norm_rel_ebd ${JSON.stringify(value)} is not known; known are none, layer_norm`);
  }
  return names.includes("layer_norm");
}

function distancesByLayer(w: Weights, config: DebertaV2Config, stream: Stream): (layer: number) => Distances | null {
  if (!config.relative_attention) return () => null;
  const { position_buckets: buckets, max_relative_positions: longest } = config;
  const span = buckets || longest;
  const table = w.get("deberta.encoder.rel_embeddings.weight", [2 * span, config.hidden_size]);
  const unit = config.norm_rel_ebd ? norm(w, "deberta.encoder.LayerNorm", table, config.layer_norm_eps) : table;
  const rowOf = (distance: number): number =>
    buckets ? bucketRow(distance, buckets, longest) : plainRow(distance, span);
  return (layer) => distances(droppedTable(w, config, layer, unit), stream, rowOf);
}

function selfAttention(
  w: Weights,
  config: DebertaV2Config,
  stream: Stream,
  layer: number,
  x: Value,
  places: Distances | null,
): Value {
  const { hidden_size: C, num_attention_heads: H, share_att_key } = config;
  const D = C / H;
  const at = `deberta.encoder.layer.${layer}.attention.self`;
  const project = (name: string, of: Value): Value => w.linear(`${at}.${name}`, of, { in: C, out: C, bias: true });
  const [q, k, v] = ["query_proj", "key_proj", "value_proj"].map((name) =>
    splitHeads(project(name, x), stream, H, D),
  ) as [Value, Value, Value];
  const [c2p, p2c] = [config.pos_att_type.includes("c2p"), config.pos_att_type.includes("p2c")];
  return disentangledAttention(w, stream, {
    layer,
    q,
    k,
    v,
    distanceKeys: places && c2p ? project(share_att_key ? "key_proj" : "pos_key_proj", places.falling) : null,
    distanceQueries: places && p2c ? project(share_att_key ? "query_proj" : "pos_query_proj", places.rising) : null,
    scale: 1 / Math.sqrt(D * (1 + Number(c2p) + Number(p2c))),
    dropout: config.attention_probs_dropout_prob,
  });
}

/** norm(residual + act(convolution of x over each row's tokens)); neither rows nor padding mix. */
function convolved(w: Weights, config: DebertaV2Config, stream: Stream, x: Value, residual: Value): Value {
  const { hidden_size: C, conv_kernel_size: K } = config;
  const kernel = w.get("deberta.encoder.conv.conv.weight", [C, C, K]);
  const flat = reshape(transpose(kernel, [0, 2, 1]), [C, K * C]);
  const around = Array.from({ length: K }, (_, i) => neighbours(stream, x, i - (K - 1) / 2));
  const y = gemm(concat(around, 1), flat, w.get("deberta.encoder.conv.conv.bias", [C]), { transB: true }); // [N, C]
  const active = activate(config.conv_act, w.dropout(y, "convolution", config.hidden_dropout_prob));
  return norm(w, "deberta.encoder.conv.LayerNorm", add(residual, active), config.layer_norm_eps);
}

/** Each token's neighbour `offset` places on, zeros where it is no token of the same row: [N, C]. */
function neighbours(stream: Stream, x: Value, offset: number): Value {
  if (offset === 0) return x;
  const { N } = stream;
  const C = x.shape[1]!;
  const away = Math.abs(offset);
  if (away >= N) return zerosOf([N, C]);
  const gap = zerosOf([away, C]);
  const moved = offset > 0 ? concat([slice(x, 0, away, N), gap], 0) : concat([gap, slice(x, 0, 0, N - away)], 0);
  const same = stream.derive(
    `neighbours.${offset}`,
    (size) => [size.N, 1],
    "f32",
    (layout) => ({
      dtype: "f32",
      shape: [layout.segments.length, 1],
      data: sameRow(layout, offset),
    }),
  );
  return mul(moved, same);
}

/** 1 where the token `offset` places on belongs to the same row, else 0. */
function sameRow({ segments }: Layout, offset: number): Float32Array {
  return Float32Array.from(segments, (row, token) => (row >= 0 && segments[token + offset] === row ? 1 : 0));
}
