/**
 * Llama and its relatives: the forward pass that they share, with every way in which they differ as an option.
 * An architecture's own file reads config.json and says which options it takes.
 * Letters in shapes: B streams, T tokens, N = B·T, C hidden, H query heads, KV key and value heads, D head width,
 * F feed-forward width.
 */

import { ModelError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { softCap } from "../graph/ops/activation.ts";
import { add, mul, scale, shift } from "../graph/ops/arithmetic.ts";
import { split } from "../graph/ops/movement.ts";
import { rmsNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import type { Architecture, ArchitectureFacts } from "./architecture.ts";
import { attention, splitHeads } from "./attention.ts";
import { type RawConfig, readChoice, readFlag, readLabelCount, readNumber, readRate, readSize } from "./config.ts";
import { type Rope, rotate } from "./rope.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface DecoderConfig extends ArchitectureFacts {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly hidden_act: string;
  readonly tie_word_embeddings: boolean;
  /** What tells the layers apart, one entry a layer. */
  readonly layerOptions: readonly LayerOptions[];
  /** Which projections have biases: queries, keys and values; the attention's output; the feed-forward layers. */
  readonly biases: { readonly qkv: boolean; readonly output: boolean; readonly mlp: boolean };
  /** Whether q, k and v are one matrix, and gate and up another (Phi-3). */
  readonly fused: boolean;
  /** RMS norm of queries and keys: each head by itself, or all heads of a token at once. */
  readonly queryKeyNorm: "head" | "width" | null;
  /** Where attention and feed-forward layers are normed: their inputs, their outputs, or both. */
  readonly norms: "inputs" | "outputs" | "both";
  /** Whether norms store their gain less 1 (Gemma). */
  readonly gainLessOne: boolean;
  /** Factor on the token embeddings. */
  readonly embeddingScale: number;
  /** Factor on attention scores. */
  readonly attentionScale: number;
  /** Rates of dropout: on attention weights, on what each half of a block adds (Phi-3), on what token classifiers read. */
  readonly attention_dropout: number;
  readonly resid_pdrop: number;
  readonly classifier_dropout: number;
  /** Soft caps on attention scores and on the vocabulary's scores. */
  readonly attentionCap: number | null;
  readonly logitCap: number | null;
}

export interface LayerOptions {
  /** How many positions a token sees, itself counted; null sees all. */
  readonly window: number | null;
  /** Null leaves positions out. */
  readonly rope: Rope | null;
  /** Name of the rope's tables, where a model has more than one. */
  readonly table?: string;
}

/** The values of config.json's fields where it leaves them out, as the family's configuration in transformers has them. */
export interface DecoderDefaults {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Absent: as many as query heads. */
  readonly num_key_value_heads?: number;
  /** Absent: hidden_size / num_attention_heads. */
  readonly head_dim?: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly tie_word_embeddings: boolean;
  /** Name of the activation's field, "hidden_act" unless given, and its value. */
  readonly activation?: { readonly field: string; readonly name: string };
}

/** Reads the fields that all have in common; every option beside them is Llama's. `layerOptions` stays to be given. */
export function readDecoder(raw: RawConfig, defaults: DecoderDefaults): Omit<DecoderConfig, "layerOptions"> {
  const hidden_size = readSize(raw, "hidden_size", defaults.hidden_size);
  const num_attention_heads = readSize(raw, "num_attention_heads", defaults.num_attention_heads);
  const num_key_value_heads = readSize(
    raw,
    "num_key_value_heads",
    raw["num_key_value_heads"] === null ? num_attention_heads : (defaults.num_key_value_heads ?? num_attention_heads),
  );
  const head_dim = readSize(raw, "head_dim", defaults.head_dim ?? Math.floor(hidden_size / num_attention_heads));
  if (num_attention_heads % num_key_value_heads !== 0) {
    throw new ModelError(
      `config.json: num_attention_heads ${num_attention_heads} is not a multiple of num_key_value_heads ${num_key_value_heads}`,
    );
  }
  const { field, name } = defaults.activation ?? { field: "hidden_act", name: "silu" };
  return {
    hidden_size,
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    intermediate_size: readSize(raw, "intermediate_size", defaults.intermediate_size),
    max_position_embeddings: readSize(raw, "max_position_embeddings", defaults.max_position_embeddings),
    rms_norm_eps: readNumber(raw, "rms_norm_eps", defaults.rms_norm_eps),
    hidden_act: readActivation(raw, field, name),
    tie_word_embeddings: readFlag(raw, "tie_word_embeddings", defaults.tie_word_embeddings),
    biases: { qkv: false, output: false, mlp: false },
    fused: false,
    queryKeyNorm: null,
    norms: "inputs",
    gainLessOne: false,
    embeddingScale: 1,
    attentionScale: 1 / Math.sqrt(head_dim),
    attention_dropout: readRate(raw, "attention_dropout", 0),
    resid_pdrop: 0,
    classifier_dropout: readRate(raw, "classifier_dropout", readRate(raw, "hidden_dropout", 0.1)),
    attentionCap: null,
    logitCap: null,
    vocabularySize: readSize(raw, "vocab_size", defaults.vocab_size),
    maxPositions: null,
    hiddenSize: hidden_size,
    layers: readSize(raw, "num_hidden_layers", defaults.num_hidden_layers),
    keyValueHeads: num_key_value_heads,
    headWidth: head_dim,
    labels: readLabelCount(raw),
  };
}

/** The same options for each of `count` layers. */
export function everyLayer(count: number, options: LayerOptions): LayerOptions[] {
  return new Array<LayerOptions>(count).fill(options);
}

export type LayerType = "full_attention" | "sliding_attention";

/** `layer_types`, one entry a layer; older files lack it and `derived` says what their own fields mean. */
export function readLayerTypes(raw: RawConfig, count: number, derived: (layer: number) => LayerType): LayerType[] {
  const given = raw["layer_types"] ?? null;
  if (given === null) return Array.from({ length: count }, (_, layer) => derived(layer));
  if (!Array.isArray(given) || given.length < count) {
    throw new ModelError(`config.json: layer_types is ${JSON.stringify(given)}, needed a list of ${count} names`);
  }
  return given.slice(0, count).map((type: unknown, layer) => {
    const name = `layer_types[${layer}]`;
    return readChoice({ [name]: type }, name, ["full_attention", "sliding_attention"] as const, "full_attention");
  });
}

/** `sliding_window`: null, which sees everything, is not the same as absent. */
export function readWindow(raw: RawConfig, fallback: number | null): number | null {
  const value = raw["sliding_window"] === undefined ? fallback : raw["sliding_window"];
  return value === null ? null : readSize({ sliding_window: value }, "sliding_window");
}

/** The window of a layer of that type; throws ModelError for a sliding layer without one. */
export function windowOf(type: LayerType, window: number | null): number | null {
  if (type === "full_attention") return null;
  if (window === null)
    throw new ModelError("config.json: layer_types has sliding_attention, but sliding_window is null");
  return window;
}

/** What a family adds to the shared forward pass. */
export interface DecoderFamily {
  readonly modelTypes: readonly string[];
  /** PEFT's; where it has none, those of Llama. */
  readonly defaultTargets: readonly string[];
  configure(raw: RawConfig): DecoderConfig;
  /** Whether transformers has a token classifier of the family; all have sequence classifiers. */
  readonly tokenClassification: boolean;
}

export function decoder(family: DecoderFamily): Architecture<DecoderConfig> {
  const { modelTypes, defaultTargets, configure } = family;
  const heads: Architecture<DecoderConfig>["heads"] = {
    "causal-lm": { rows: "targets", logits: vocabularyScores },
    "sequence-classification": { rows: "last", logits: (w, config, x) => score(w, config, x, false) },
    ...(family.tokenClassification
      ? { "token-classification": { rows: "targets", logits: tokenScores } as const }
      : {}),
  };
  return { modelTypes, basePrefix: "model.", defaultTargets, configure, hidden, heads };
}

function hidden(w: Weights, config: DecoderConfig, stream: Stream): Value {
  const { hidden_size: C, vocabularySize: V, embeddingScale, layers } = config;
  const tokens = w.embedding("model.embed_tokens", stream.ids, { rows: V, width: C });
  let x = w.embedded(scale(tokens, embeddingScale)); // [N, C]
  for (let layer = 0; layer < layers; layer++) {
    x = segment(stream, x, (y) => block(w, config, stream, layer, y));
  }
  return norm(w, config, "model.norm", x);
}

function vocabularyScores(w: Weights, config: DecoderConfig, x: Value): Value {
  const { hidden_size: C, vocabularySize: V, tie_word_embeddings, logitCap } = config;
  const tied = tie_word_embeddings ? { weight: "model.embed_tokens.weight" } : {};
  const scores = w.linear("lm_head", x, { in: C, out: V, bias: false, ...tied });
  return logitCap === null ? scores : softCap(scores, logitCap);
}

function tokenScores(w: Weights, config: DecoderConfig, x: Value): Value {
  return score(w, config, w.dropout(x, "score", config.classifier_dropout), true);
}

function score(w: Weights, { hidden_size: C, labels }: DecoderConfig, x: Value, bias: boolean): Value {
  return w.linear("score", x, { in: C, out: labels, bias });
}

function block(w: Weights, config: DecoderConfig, stream: Stream, layer: number, x: Value): Value {
  const at = `model.layers.${layer}`;
  const attend = (value: Value): Value =>
    w.dropout(selfAttention(w, config, stream, layer, value), `${at}.self_attn`, config.resid_pdrop);
  const feed = (value: Value): Value =>
    w.dropout(feedForward(w, config, `${at}.mlp`, value), `${at}.mlp`, config.resid_pdrop);
  const normed = (name: string, value: Value): Value => norm(w, config, `${at}.${name}`, value);
  switch (config.norms) {
    case "inputs": {
      const y = add(x, attend(normed("input_layernorm", x)));
      return add(y, feed(normed("post_attention_layernorm", y)));
    }
    case "outputs": {
      const y = add(x, normed("post_attention_layernorm", attend(x)));
      return add(y, normed("post_feedforward_layernorm", feed(y)));
    }
    case "both": {
      const y = add(x, normed("post_attention_layernorm", attend(normed("input_layernorm", x))));
      return add(y, normed("post_feedforward_layernorm", feed(normed("pre_feedforward_layernorm", y))));
    }
  }
}

function selfAttention(w: Weights, config: DecoderConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H, num_key_value_heads: KV, head_dim: D, biases } = config;
  const { window, rope, table } = config.layerOptions[layer]!;
  const at = `model.layers.${layer}.self_attn`;
  const project = (name: string, out: number): Value => w.linear(`${at}.${name}`, x, { in: C, out, bias: biases.qkv });
  const [queries, keys, values] = config.fused
    ? (split(project("qkv_proj", (H + 2 * KV) * D), [H * D, KV * D, KV * D], -1) as [Value, Value, Value])
    : [project("q_proj", H * D), project("k_proj", KV * D), project("v_proj", KV * D)]; // [N, heads·D] each

  const place = (value: Value, name: string, heads: number): Value => {
    const wide = config.queryKeyNorm === "width" ? norm(w, config, `${at}.${name}`, value) : value;
    const split = splitHeads(wide, stream, heads, D); // [B, heads, T, D]
    const each = config.queryKeyNorm === "head" ? norm(w, config, `${at}.${name}`, split) : split;
    return rope ? rotate(each, stream, rope, table) : each;
  };
  const mixed = attention(
    w,
    stream,
    place(queries, "q_norm", H),
    place(keys, "k_norm", KV),
    splitHeads(values, stream, KV, D),
    {
      layer,
      H,
      KV,
      D,
      scale: config.attentionScale,
      mask: { causal: true, window },
      softCap: config.attentionCap,
      dropout: config.attention_dropout,
    },
  ); // [N, H·D]
  return w.linear(`${at}.o_proj`, mixed, { in: H * D, out: C, bias: biases.output });
}

function feedForward(w: Weights, config: DecoderConfig, at: string, x: Value): Value {
  const { hidden_size: C, intermediate_size: F, hidden_act, biases } = config;
  const bias = biases.mlp;
  const project = (name: string, out: number): Value => w.linear(`${at}.${name}`, x, { in: C, out, bias });
  const [gate, up] = config.fused
    ? (split(project("gate_up_proj", 2 * F), 2, -1) as [Value, Value])
    : [project("gate_proj", F), project("up_proj", F)]; // [N, F] each
  return w.linear(`${at}.down_proj`, mul(activate(hidden_act, gate), up), { in: F, out: C, bias });
}

/** RMS norm over x's last axis, with the gain of that name. */
function norm(w: Weights, { rms_norm_eps, gainLessOne }: DecoderConfig, name: string, x: Value): Value {
  const gain = w.get(`${name}.weight`, [x.shape.at(-1)!]);
  return rmsNorm(x, gainLessOne ? shift(gain, 1) : gain, rms_norm_eps);
}
