/**
 * CLIP's text encoder (Radford et al. 2021), and OpenCLIP's, which differ in sizes and activation: the whole forward
 * pass, in this file. Source of names and options: transformers `modeling_clip.py`.
 * Letters in shapes: B texts, T tokens, N = B·T, C hidden, H heads, D = C / H, F inner.
 */

import { input, type Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { layerNorm } from "../graph/ops/norm.ts";
import { activate, readActivation } from "./activations.ts";
import { attention, splitHeads } from "./attention.ts";
import { type RawConfig, readNumber, readSize } from "./config.ts";
import { segment } from "./segment.ts";
import type { Stream } from "./stream.ts";
import type { Weights } from "./weights.ts";

export interface ClipTextConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
  readonly eos_token_id: number;
  /** Width of the pooled text where the model projects it (CLIPTextModelWithProjection); null in others. */
  readonly projection_dim: number | null;
  /** How the checkpoint stores that projection. */
  readonly projectionLayout: "out,in" | "in,out";
}

export function configureClipText(raw: RawConfig): ClipTextConfig {
  const projects = Array.isArray(raw["architectures"]) && raw["architectures"].includes("CLIPTextModelWithProjection");
  return {
    vocab_size: readSize(raw, "vocab_size", 49408),
    hidden_size: readSize(raw, "hidden_size", 512),
    intermediate_size: readSize(raw, "intermediate_size", 2048),
    num_hidden_layers: readSize(raw, "num_hidden_layers", 12),
    num_attention_heads: readSize(raw, "num_attention_heads", 8),
    max_position_embeddings: readSize(raw, "max_position_embeddings", 77),
    hidden_act: readActivation(raw, "hidden_act", "quick_gelu"),
    layer_norm_eps: readNumber(raw, "layer_norm_eps", 1e-5),
    eos_token_id: readNumber(raw, "eos_token_id", 49407),
    projection_dim: projects ? readSize(raw, "projection_dim", 512) : null,
    projectionLayout: "out,in",
  };
}

export interface EncodedText {
  /** The embeddings and the output of every layer [N, C], without the last norm. */
  readonly states: readonly Value[];
  /** The last state after the last norm [N, C]. */
  readonly last: Value;
  /** `last` at each text's end, the row that the input `ends` [B] names, and its projection: [B, C or projection_dim]. */
  pooled(): Value;
}

export function clipText(w: Weights, config: ClipTextConfig, stream: Stream): EncodedText {
  const { hidden_size: C, vocab_size, max_position_embeddings: positions, num_hidden_layers, projection_dim } = config;
  const { projectionLayout } = config;
  const at = "text_model.embeddings";
  const tokens = w.embedding(`${at}.token_embedding`, stream.ids, { rows: vocab_size, width: C });
  const places = w.embedding(`${at}.position_embedding`, stream.positions, { rows: positions, width: C });
  const states = [w.embedded(add(tokens, places))];
  for (let layer = 0; layer < num_hidden_layers; layer++) {
    states.push(segment(stream, states.at(-1)!, (x) => block(w, config, stream, layer, x)));
  }
  const last = finalNorm(w, config, states.at(-1)!);
  const pooled = (): Value => {
    const ends = gatherRows(last, input("ends", "i32", [stream.B]));
    return projection_dim === null
      ? ends
      : w.linear("text_projection", ends, { in: C, out: projection_dim, bias: false, layout: projectionLayout });
  };
  return { states, last, pooled };
}

/** The norm behind the last layer, which may also stand behind an earlier one ("clip skip"). */
export function finalNorm(w: Weights, config: ClipTextConfig, x: Value): Value {
  return norm(w, config, "text_model.final_layer_norm", x);
}

/** Where a text's pooled state stands: its first end token; by the old configurations' id 2, its largest id. */
export function endOf(ids: ArrayLike<number>, { eos_token_id }: ClipTextConfig): number {
  const all = Array.from(ids);
  const wanted = eos_token_id === 2 ? all.reduce((a, b) => Math.max(a, b), 0) : eos_token_id;
  return Math.max(0, all.indexOf(wanted));
}

/** Names with and without "text_model.": transformers 5 leaves it out of what it writes. */
export function clipTextSpellings(name: string): readonly string[] {
  return name.startsWith("text_model.") ? [name, name.slice("text_model.".length)] : [name];
}

function block(w: Weights, config: ClipTextConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, intermediate_size: F, hidden_act } = config;
  const at = `text_model.encoder.layers.${layer}`;
  const y = add(x, selfAttention(w, config, stream, layer, norm(w, config, `${at}.layer_norm1`, x)));
  const inner = w.linear(`${at}.mlp.fc1`, norm(w, config, `${at}.layer_norm2`, y), { in: C, out: F, bias: true });
  return add(y, w.linear(`${at}.mlp.fc2`, activate(hidden_act, inner), { in: F, out: C, bias: true }));
}

/** Each token sees itself and those before it; padding is seen as well, as the models were trained. */
function selfAttention(w: Weights, config: ClipTextConfig, stream: Stream, layer: number, x: Value): Value {
  const { hidden_size: C, num_attention_heads: H } = config;
  const D = C / H;
  const at = `text_model.encoder.layers.${layer}.self_attn`;
  const heads = (name: string): Value =>
    splitHeads(w.linear(`${at}.${name}`, x, { in: C, out: C, bias: true }), stream, H, D); // [B, H, T, D]
  const mixed = attention(w, stream, heads("q_proj"), heads("k_proj"), heads("v_proj"), {
    layer,
    H,
    KV: H,
    D,
    scale: 1 / Math.sqrt(D),
    mask: { causal: true, window: null },
  });
  return w.linear(`${at}.out_proj`, mixed, { in: C, out: C, bias: true });
}

function norm(w: Weights, { hidden_size: C, layer_norm_eps }: ClipTextConfig, name: string, x: Value): Value {
  return layerNorm(x, w.get(`${name}.weight`, [C]), w.get(`${name}.bias`, [C]), layer_norm_eps);
}
