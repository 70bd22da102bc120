/** The order of rows in which llama.cpp keeps queries and keys: numbers that rotate together lie side by side. */

import { ModelError } from "../errors.ts";
import type { Config } from "./config.ts";
import type { GgufArchitecture } from "./names.ts";

/** Heads of a query or key tensor whose rows llama.cpp reorders; null for all others. */
export function permutedHeads(
  tensor: string,
  { permutes }: GgufArchitecture,
  config: Config,
  where: string,
): number | null {
  const part = permutes ? /\.attn_([qk])\.(?:weight|bias)$/.exec(tensor)?.[1] : undefined;
  if (part === undefined) return null;
  const all = config["num_attention_heads"];
  const heads = part === "q" ? all : (config["num_key_value_heads"] ?? all);
  if (typeof heads === "number" && heads > 0) return heads;
  throw new ModelError(`${where}: num_attention_heads is missing, and GGUF's order of ${tensor} depends on it.`);
}

/**
 * Rows [heads, 2, half] (the halves that rotate together lie apart, as Hugging Face has them) as [heads, half, 2], or
 * back. `columns` is the width of a row, in elements of `values`. Throws ModelError for rows that the heads cannot share.
 */
export function permuteRows<T extends Float32Array | Uint8Array>(
  values: T,
  rows: number,
  columns: number,
  heads: number,
  back: boolean,
): T {
  if (rows % (2 * heads) !== 0) {
    throw new ModelError(
      `${rows} rows of queries or keys, which ${heads} heads cannot share. Give its own base as --model.`,
    );
  }
  const half = rows / heads / 2;
  const out = values.slice() as T;
  for (let row = 0; row < rows; row++) {
    const [head, inner] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const pair = head * 2 * half + (inner % half) * 2 + Math.floor(inner / half);
    const [from, to] = back ? [pair, row] : [row, pair];
    out.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
  }
  return out;
}
