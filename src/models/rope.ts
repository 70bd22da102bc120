/**
 * Rotary position embeddings (Su et al. 2021) with the scalings of transformers' `modeling_rope_utils.py`:
 * default, linear, dynamic (NTK by length) and llama3.
 * Tables are computed in float64 here and fed as inputs, so that no scaling needs ops of its own.
 */

import { ModelError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { add, mul, neg } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { concat, split } from "../graph/ops/movement.ts";
import type { Layout, Stream } from "./stream.ts";

export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    };

export interface Rope {
  readonly theta: number;
  /** Width that is rotated; the rest of a head passes through. */
  readonly D: number;
  readonly maxPositions: number;
  readonly scaling: RopeScaling;
}

/** Reads `rope_parameters` (today's spelling) or `rope_theta` and `rope_scaling` (the older one). */
export function readRope(config: Readonly<Record<string, unknown>>, D: number, maxPositions: number): Rope {
  const parameters = (config["rope_parameters"] ?? config["rope_scaling"] ?? {}) as Readonly<Record<string, unknown>>;
  const theta = Number(parameters["rope_theta"] ?? config["rope_theta"] ?? 10000);
  const type = String(parameters["rope_type"] ?? parameters["type"] ?? "default");
  const number = (name: string): number => {
    const value = parameters[name];
    if (typeof value !== "number") throw new ModelError(`config.json: rope scaling "${type}" needs the number ${name}`);
    return value;
  };
  const base = { theta, D, maxPositions };
  switch (type) {
    case "default":
      return { ...base, scaling: { type } };
    case "linear":
    case "dynamic":
      return { ...base, scaling: { type, factor: number("factor") } };
    case "llama3":
      return {
        ...base,
        scaling: {
          type,
          factor: number("factor"),
          low_freq_factor: number("low_freq_factor"),
          high_freq_factor: number("high_freq_factor"),
          original_max_position_embeddings: number("original_max_position_embeddings"),
        },
      };
    default:
      throw new ModelError(
        `config.json: rope scaling "${type}" is not known; known are default, linear, dynamic, llama3`,
      );
  }
}

/** Angle per position of each of the D / 2 pairs, for rows of at most `longest` tokens. */
export function inverseFrequencies({ theta, D, maxPositions, scaling }: Rope, longest: number): Float64Array {
  let base = theta;
  if (scaling.type === "dynamic" && longest > maxPositions) {
    base *= ((scaling.factor * longest) / maxPositions - (scaling.factor - 1)) ** (D / (D - 2));
  }
  const plain = Float64Array.from({ length: D / 2 }, (_, i) => base ** ((-2 * i) / D));
  if (scaling.type === "linear") return plain.map((frequency) => frequency / scaling.factor);
  if (scaling.type !== "llama3") return plain;
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = scaling;
  return plain.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return frequency / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/** x [B, heads, T, D] rotated by its tokens' positions: x·cos + rotateHalf(x)·sin. `name` tells tables apart. */
export function rotate(x: Value, stream: Stream, rope: Rope, name = "rope"): Value {
  const { B, T } = stream;
  const [cos, sin] = (["cos", "sin"] as const).map((which) =>
    reshape(
      stream.derive(`${name}.${which}`, [B, T, rope.D], "f32", (layout) => ({
        dtype: "f32",
        shape: [B, T, rope.D],
        data: table(rope, layout, which === "cos" ? Math.cos : Math.sin),
      })),
      [B, 1, T, rope.D],
    ),
  ) as [Value, Value];
  const width = x.shape[3]!;
  const [turned, rest] = width === rope.D ? [x] : split(x, [rope.D, width - rope.D], 3);
  const [first, second] = split(turned!, 2, 3);
  const half = concat([neg(second!), first!], 3);
  const rotated = add(mul(turned!, cos), mul(half, sin));
  return rest ? concat([rotated, rest], 3) : rotated;
}

function table(rope: Rope, { positions, longest }: Layout, of: (angle: number) => number): Float32Array {
  const frequencies = inverseFrequencies(rope, longest);
  const half = rope.D / 2;
  const out = new Float32Array(positions.length * rope.D);
  for (let token = 0; token < positions.length; token++) {
    for (let i = 0; i < half; i++) {
      const value = of(positions[token]! * frequencies[i]!);
      out[token * rope.D + i] = value;
      out[token * rope.D + half + i] = value;
    }
  }
  return out;
}
