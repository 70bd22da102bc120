/**
 * Sentence embeddings: one vector a row from its tokens' hidden states, as the files of a sentence-transformers folder
 * say. Source: sentence-transformers `models/Pooling.py`, `models/Normalize.py`.
 * Letters: N tokens of all streams, M rows, C hidden.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { isRecord, readJsonFile, readJsonObject } from "../files/json-file.ts";
import type { Value } from "../graph/graph.ts";
import { matMul } from "../graph/ops/matmul.ts";
import type { Layout, Stream } from "./stream.ts";

/** What a row's vector is made of; sentence-transformers' fields without `pooling_mode_`. */
const MODES = ["mean_tokens", "cls_token", "lasttoken", "mean_sqrt_len_tokens", "weightedmean_tokens"] as const;

export type PoolingMode = (typeof MODES)[number];

export interface Pooling {
  readonly mode: PoolingMode;
  /** Whether vectors are scaled to length 1. */
  readonly normalize: boolean;
  /** Tokens that the folder cuts texts at; null where it does not say. */
  readonly maxLength: number | null;
}

export const DEFAULT_POOLING: Pooling = { mode: "mean_tokens", normalize: false, maxLength: null };

/** How the folder makes embeddings: the mean of all tokens unless its files say otherwise. Throws ModelError for modules that are not known. */
export function readPooling(folder: string): Pooling {
  const limit = readField(join(folder, "sentence_bert_config.json"), "max_seq_length");
  const maxLength = typeof limit === "number" ? limit : null;
  const list = join(folder, "modules.json");
  if (!existsSync(list)) return { ...DEFAULT_POOLING, maxLength };
  const modules = readJsonFile(list);
  const kinds = (Array.isArray(modules) ? modules : []).map((module: unknown) => {
    const { type, path } = isRecord(module) ? module : {};
    return { kind: String(type).slice(String(type).lastIndexOf(".") + 1), path: String(path ?? "") };
  });
  const unknown = kinds.find(({ kind }) => !["Transformer", "Pooling", "Normalize"].includes(kind));
  if (unknown) {
    throw new ModelError(
      `${list}: the module ${unknown.kind} is not supported; supported are Transformer, Pooling, Normalize`,
    );
  }
  const pooling = kinds.find(({ kind }) => kind === "Pooling");
  return {
    mode: pooling ? readMode(folder, pooling.path) : DEFAULT_POOLING.mode,
    normalize: kinds.some(({ kind }) => kind === "Normalize"),
    maxLength,
  };
}

function readMode(folder: string, inner: string): PoolingMode {
  if (!/^[\w.-]*$/.test(inner) || inner.startsWith("..")) {
    throw new ModelError(`${folder}/modules.json: ${JSON.stringify(inner)} is no folder beside it`);
  }
  const path = join(folder, inner, "config.json");
  const config = existsSync(path) ? readJsonObject(path) : {};
  const set = Object.keys(config)
    .filter((name) => name.startsWith("pooling_mode_") && config[name] === true)
    .map((name) => name.slice("pooling_mode_".length));
  const [first = "mean_tokens", ...more] = set;
  const mode = MODES.find((each) => each === first);
  if (mode && more.length === 0) return mode;
  throw new ModelError(
    `${path}: pooling by ${set.join(" and ")} is not supported; supported is one of ${MODES.join(", ")}`,
  );
}

function readField(path: string, field: string): unknown {
  return existsSync(path) ? readJsonObject(path)[field] : undefined;
}

/** One vector a row [M, C] of the hidden states [N, C]; zeros beyond the last row. */
export function pooled(stream: Stream, hidden: Value, mode: PoolingMode): Value {
  const shares = stream.derive(
    "pooling",
    ({ M, N }) => [M, N],
    "f32",
    (layout, shape) => ({ dtype: "f32", shape, data: tokenShares(layout, shape[0]!, mode) }),
  );
  return matMul(shares, hidden);
}

/** What each of N tokens counts in each of M rows [M, N]; virtual tokens count nothing. */
function tokenShares({ segments, virtual }: Layout, M: number, mode: PoolingMode): Float32Array {
  const N = segments.length;
  const shares = new Float32Array(M * N);
  const rows = new Map<number, number[]>();
  segments.forEach((row, token) => {
    if (row < 0 || virtual[token] !== 0) return;
    const held = rows.get(row);
    if (held) held.push(token);
    else rows.set(row, [token]);
  });
  for (const [row, tokens] of rows) {
    const n = tokens.length;
    const share = (i: number): number => {
      switch (mode) {
        case "mean_tokens":
          return 1 / n;
        case "mean_sqrt_len_tokens":
          return 1 / Math.sqrt(n);
        case "cls_token":
          return i === 0 ? 1 : 0;
        case "lasttoken":
          return i === n - 1 ? 1 : 0;
        case "weightedmean_tokens":
          return (i + 1) / ((n * (n + 1)) / 2);
      }
    };
    tokens.forEach((token, i) => {
      shares[row * N + token] = share(i);
    });
  }
  return shares;
}
