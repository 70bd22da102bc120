/**
 * Rotary position embeddings (Su et al. 2021) with the scalings of transformers' `modeling_rope_utils.py`:
 * default, linear, dynamic (NTK by length), yarn (Peng et al. 2023), longrope (Ding et al. 2024) and llama3.
 * Tables are computed here and fed as inputs, so that no scaling needs ops of its own.
 */

import { ModelError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { rotary } from "../graph/ops/rotary.ts";
import { type RawConfig, readFlag, readNumber } from "./config.ts";
import type { Layout, Stream } from "./stream.ts";

export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly beta_fast: number;
      readonly beta_slow: number;
      readonly truncate: boolean;
      readonly original_max_position_embeddings: number;
    }
  | {
      readonly type: "longrope";
      /** Divisors of the frequencies for rows up to the original length, and beyond it. */
      readonly short_factor: readonly number[];
      readonly long_factor: readonly number[];
      readonly original_max_position_embeddings: number;
    }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    };

export interface Rope {
  readonly theta: number;
  /** Width that the frequencies are spread over: pairs of it are rotated, the rest of a head passes through. */
  readonly D: number;
  readonly maxPositions: number;
  readonly scaling: RopeScaling;
  /** Factor on cosines and sines, other than 1 in yarn and longrope. */
  readonly attentionFactor: number;
}

export interface RopeDefaults {
  /** `rope_theta` where config.json has none. */
  readonly theta?: number;
  /** `partial_rotary_factor` where config.json has none. */
  readonly partial?: number;
  /** `original_max_position_embeddings` of the model itself, which wins over that of the scaling (Phi-3). */
  readonly original?: number;
}

/** Reads `rope_parameters` (today's spelling) or `rope_theta` and `rope_scaling` (the older one). */
export function readRope(
  config: RawConfig,
  headWidth: number,
  maxPositions: number,
  defaults: RopeDefaults = {},
): Rope {
  const parameters = { ...record(config["rope_scaling"] ?? config["rope_parameters"]) };
  if ("full_attention" in parameters || "sliding_attention" in parameters) {
    throw new ModelError("config.json: rope_parameters by layer type are not supported for this model_type");
  }
  for (const name of ["rope_theta", "partial_rotary_factor"]) parameters[name] ??= config[name];
  return parseRope(parameters, headWidth, maxPositions, defaults);
}

/** A rope from the fields of one `rope_parameters` record. */
export function parseRope(
  parameters: RawConfig,
  headWidth: number,
  maxPositions: number,
  defaults: RopeDefaults = {},
): Rope {
  const theta = readNumber(parameters, "rope_theta", defaults.theta ?? 10000);
  const D = Math.trunc(headWidth * readNumber(parameters, "partial_rotary_factor", defaults.partial ?? 1));
  const original = defaults.original ?? readNumber(parameters, "original_max_position_embeddings", maxPositions);
  const scaling = parseScaling(parameters, D, maxPositions, original);
  return { theta, D, maxPositions, scaling, attentionFactor: attentionFactor(parameters, scaling, maxPositions) };
}

function parseScaling(parameters: RawConfig, D: number, maxPositions: number, original: number): RopeScaling {
  const type = String(parameters["rope_type"] ?? parameters["type"] ?? "default");
  const number = (name: string): number => {
    const value = parameters[name];
    if (typeof value !== "number") throw new ModelError(`config.json: rope scaling "${type}" needs the number ${name}`);
    return value;
  };
  const divisors = (name: string): number[] => {
    const value = parameters[name];
    if (!Array.isArray(value) || value.length !== Math.ceil(D / 2) || value.some((each) => typeof each !== "number")) {
      throw new ModelError(`config.json: rope scaling "${type}" needs ${name}, a list of ${Math.ceil(D / 2)} numbers`);
    }
    return value as number[];
  };
  switch (type) {
    case "default":
      return { type };
    case "linear":
    case "dynamic":
      return { type, factor: number("factor") };
    case "yarn":
      return {
        type,
        factor: readNumber(parameters, "factor", maxPositions / original),
        beta_fast: readNumber(parameters, "beta_fast", 32) || 32,
        beta_slow: readNumber(parameters, "beta_slow", 1) || 1,
        truncate: readFlag(parameters, "truncate", true),
        original_max_position_embeddings: original,
      };
    case "longrope":
      return {
        type,
        short_factor: divisors("short_factor"),
        long_factor: divisors("long_factor"),
        original_max_position_embeddings: original,
      };
    case "llama3":
      return {
        type,
        factor: number("factor"),
        low_freq_factor: number("low_freq_factor"),
        high_freq_factor: number("high_freq_factor"),
        original_max_position_embeddings: original,
      };
    default:
      throw new ModelError(
        `config.json: rope scaling "${type}" is not known; known are default, linear, dynamic, yarn, longrope, llama3`,
      );
  }
}

/** The factor that is given, or the one that the papers derive from how far the context is stretched. */
function attentionFactor(parameters: RawConfig, scaling: RopeScaling, maxPositions: number): number {
  if (scaling.type !== "yarn" && scaling.type !== "longrope") return 1;
  const given = parameters["attention_factor"];
  if (typeof given === "number") return given;
  const original = scaling.original_max_position_embeddings;
  if (scaling.type === "longrope") {
    const stretch = readNumber(parameters, "factor", maxPositions / original);
    return stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original));
  }
  const grown = (weight: number): number => (scaling.factor <= 1 ? 1 : 0.1 * weight * Math.log(scaling.factor) + 1);
  const mscale = readNumber(parameters, "mscale", 0);
  const mscaleAll = readNumber(parameters, "mscale_all_dim", 0);
  return mscale !== 0 && mscaleAll !== 0 ? grown(mscale) / grown(mscaleAll) : grown(1);
}

/**
 * Angle per position of each pair, for batches whose longest row has `longest` tokens. Rounded to float32 where
 * transformers rounds: at long positions models have been trained with the rounded angles.
 */
export function inverseFrequencies({ theta, D, maxPositions, scaling }: Rope, longest: number): Float64Array {
  const base =
    scaling.type === "dynamic" && longest > maxPositions
      ? theta * ((scaling.factor * longest) / maxPositions - (scaling.factor - 1)) ** (D / (D - 2))
      : theta;
  const plain = Float64Array.from({ length: Math.ceil(D / 2) }, (_, i) =>
    Math.fround(1 / Math.fround(base ** Math.fround((2 * i) / D))),
  );
  switch (scaling.type) {
    case "default":
    case "dynamic":
      return plain;
    case "linear":
      return plain.map((frequency) => frequency / scaling.factor);
    case "yarn": {
      const { factor, beta_fast, beta_slow, truncate, original_max_position_embeddings: original } = scaling;
      // The pair that turns `turns` times over the original length.
      const pair = (turns: number): number => (D * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(truncate ? Math.floor(pair(beta_fast)) : pair(beta_fast), 0);
      const high = Math.min(truncate ? Math.ceil(pair(beta_slow)) : pair(beta_slow), D - 1);
      return plain.map((frequency, i) => {
        const stretched = clamp01((i - low) / (high === low ? 0.001 : high - low));
        return (frequency / factor) * stretched + frequency * (1 - stretched);
      });
    }
    case "longrope": {
      const divisors = longest > scaling.original_max_position_embeddings ? scaling.long_factor : scaling.short_factor;
      return plain.map((frequency, i) => frequency / divisors[i]!);
    }
    case "llama3": {
      const { factor, low_freq_factor: low, high_freq_factor: high } = scaling;
      const original = scaling.original_max_position_embeddings;
      return plain.map((frequency) => {
        const wavelength = (2 * Math.PI) / frequency;
        if (wavelength < original / high) return frequency;
        if (wavelength > original / low) return frequency / factor;
        const smooth = (original / wavelength - low) / (high - low);
        return ((1 - smooth) * frequency) / factor + smooth * frequency;
      });
    }
  }
}

/** x [B, heads, T, D] rotated by its tokens' positions: x·cos + rotateHalf(x)·sin. `name` tells tables apart. */
export function rotate(x: Value, stream: Stream, rope: Rope, name = "rope"): Value {
  const half = Math.ceil(rope.D / 2);
  const angles = (which: "cos" | "sin"): Value =>
    stream.derive(
      `${name}.${which}`,
      ({ N }) => [N, half],
      "f32",
      (layout, shape) => ({ dtype: "f32", shape, data: table(rope, layout, Math[which]) }),
    );
  return rotary(x, rowNumbers(stream), angles("cos"), angles("sin"));
}

/** The number of each token's row in tables [N, …]. */
function rowNumbers(stream: Stream): Value {
  return stream.derive(
    "tokens",
    ({ B, T }) => [B, T],
    "i32",
    ({ B, T }, shape) => ({ dtype: "i32", shape, data: Int32Array.from({ length: B * T }, (_, i) => i) }),
  );
}

/** A cosine or sine for each pair of a token: [N, R / 2]. */
function table(rope: Rope, { positions, longest }: Layout, of: (angle: number) => number): Float32Array {
  const frequencies = inverseFrequencies(rope, longest);
  const half = frequencies.length;
  const out = new Float32Array(positions.length * half);
  for (let token = 0; token < positions.length; token++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(positions[token]! * Math.fround(frequencies[i]!));
      out[token * half + i] = of(angle) * rope.attentionFactor;
    }
  }
  return out;
}

const clamp01 = (x: number): number => Math.min(1, Math.max(0, x));

function record(value: unknown): RawConfig {
  return typeof value === "object" && value !== null ? (value as RawConfig) : {};
}
