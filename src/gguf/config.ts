/** config.json of a model in a GGUF file, from its metadata. Source of the keys: llama.cpp `src/llama-arch.cpp`. */

import { ModelError } from "../errors.ts";
import type { Metadata } from "./metadata.ts";
import { baseArchitectures, type GgufArchitecture } from "./names.ts";

export type Config = Readonly<Record<string, unknown>>;

/** What config.json needs to know of the tensors. */
export interface TensorFacts {
  readonly vocabulary: number;
  /** Whether the head is the embedding's matrix. */
  readonly tied: boolean;
  /** Whether queries, keys and values have biases. */
  readonly biased: boolean;
  /** `rope_freqs.weight`: divisors of the rotary frequencies; null when there are none. */
  readonly frequencyFactors: Float32Array | null;
}

export interface Described {
  readonly config: Config;
  readonly architecture: GgufArchitecture;
}

const CLASSES: Readonly<Record<string, string>> = {
  llama: "LlamaForCausalLM",
  smollm3: "SmolLM3ForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
  gemma: "GemmaForCausalLM",
  gpt2: "GPT2LMHeadModel",
};

/** The architecture that `general.architecture` names. Throws ModelError for one that is not known. */
export function describedArchitecture(metadata: Metadata): { modelType: string; architecture: GgufArchitecture } {
  if (metadata.text("general.type") === "adapter") {
    throw new ModelError(`${metadata.path} is an adapter, needed a model. Convert it: lowrank adapter convert.`);
  }
  const name = metadata.text("general.architecture");
  const known = baseArchitectures();
  const found = known.get(name ?? "");
  if (found) return found;
  throw new ModelError(
    `${metadata.path}: general.architecture is ${JSON.stringify(name)}; models of ${[...known.keys()].join(", ")} are read. Take the model's safetensors files instead.`,
  );
}

/** Throws ModelError for options that would change the computation and are not understood. */
export function describeModel(metadata: Metadata, facts: TensorFacts): Described {
  const { modelType, architecture } = describedArchitecture(metadata);
  const at = (key: string): string => `${architecture.name}.${key}`;
  const special = specialIds(metadata);
  const named = { model_type: modelType, architectures: [CLASSES[modelType]], ...special };
  const layers = metadata.size(at("block_count"));
  const [width, heads] = [metadata.size(at("embedding_length")), metadata.size(at("attention.head_count"))];
  const positions = metadata.size(at("context_length"));
  const inner = metadata.size(at("feed_forward_length"));
  if (modelType === "gpt2") {
    const config = {
      ...named,
      vocab_size: facts.vocabulary,
      n_embd: width,
      n_layer: layers,
      n_head: heads,
      n_inner: inner,
      n_positions: positions,
      n_ctx: positions,
      activation_function: "gelu_new",
      layer_norm_epsilon: metadata.number(at("attention.layer_norm_epsilon")),
      tie_word_embeddings: facts.tied,
    };
    return { config, architecture };
  }
  for (const key of ["expert_count", "attention.sliding_window"].map(at)) {
    if (metadata.has(key) && metadata.number(key) !== 0) {
      throw new ModelError(`${metadata.path}: ${key} ${metadata.number(key)} is not supported in GGUF files.`);
    }
  }
  const headWidth = metadata.size(at("attention.key_length"), width / heads);
  const rotated = metadata.size(at("rope.dimension_count"), headWidth);
  if (rotated !== headWidth || metadata.size(at("attention.value_length"), headWidth) !== headWidth) {
    throw new ModelError(
      `${metadata.path}: heads of ${headWidth} with ${rotated} rotated are not supported in GGUF files.`,
    );
  }
  const config = {
    ...named,
    vocab_size: facts.vocabulary,
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: metadata.size(at("attention.head_count_kv"), heads),
    head_dim: headWidth,
    max_position_embeddings: positions,
    rms_norm_eps: metadata.number(at("attention.layer_norm_rms_epsilon")),
    hidden_act: modelType === "gemma" ? "gelu_pytorch_tanh" : "silu",
    tie_word_embeddings: facts.tied,
    rope_parameters: ropeOf(metadata, at, headWidth, facts.frequencyFactors),
    ...(modelType === "qwen2" ? {} : { attention_bias: facts.biased }),
  };
  return { config, architecture };
}

function specialIds(metadata: Metadata): Config {
  const [end, turn] = [metadata.token("tokenizer.ggml.eos_token_id"), metadata.token("tokenizer.ggml.eot_token_id")];
  const begin = metadata.token("tokenizer.ggml.bos_token_id");
  const pad = metadata.token("tokenizer.ggml.padding_token_id");
  return {
    bos_token_id: begin,
    eos_token_id: end !== null && turn !== null && turn !== end ? [end, turn] : (end ?? turn),
    pad_token_id: pad,
  };
}

function ropeOf(metadata: Metadata, at: (key: string) => string, width: number, factors: Float32Array | null): Config {
  const theta = metadata.number(at("rope.freq_base"), 10000);
  if (factors) return { rope_theta: theta, ...llama3Scaling(metadata, theta, width, factors) };
  const type = metadata.text(at("rope.scaling.type")) ?? "none";
  if (type === "none") return { rope_theta: theta, rope_type: "default" };
  const factor = metadata.number(at("rope.scaling.factor"));
  if (type === "linear") return { rope_theta: theta, rope_type: "linear", factor };
  if (type === "yarn") {
    const original_max_position_embeddings = metadata.size(at("rope.scaling.original_context_length"));
    return { rope_theta: theta, rope_type: "yarn", factor, original_max_position_embeddings };
  }
  throw new ModelError(`${metadata.path}: ${at("rope.scaling.type")} ${JSON.stringify(type)} is not supported.`);
}

/** Llama 3.1's scaling, of which GGUF holds only the outcome: its published settings must give the file's factors. */
function llama3Scaling(metadata: Metadata, theta: number, width: number, factors: Float32Array): Config {
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  const [low, high, original] = [1, 4, 8192];
  const fits =
    factors.length === width / 2 &&
    factors.every((found, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / width);
      const smooth = (original / wavelength - low) / (high - low);
      const between = 1 / ((1 - smooth) / factor + smooth);
      const needed = wavelength < original / high ? 1 : wavelength > original / low ? factor : between;
      return Math.abs(found - needed) <= 1e-4 * needed;
    });
  if (!fits) {
    throw new ModelError(
      `${metadata.path}: rope_freqs.weight holds frequencies that are not Llama 3.1's. Take the model's safetensors files instead.`,
    );
  }
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}
