/** One completion as a job of the scheduler: prompt, then token by token, with text handed on as it is settled. */

import type { TextStream } from "../data/tokenizer-stream.ts";
import type { AdapterSet } from "./adapter-set.ts";
import type { CacheRow } from "./cache.ts";
import type { Engine, Tokens, Work } from "./engine.ts";
import type { PrefixCache } from "./prefix-cache.ts";
import { logProbabilities, type Sampler, type TokenProbability } from "./sample.ts";
import type { Job } from "./scheduler.ts";
import type { StopFilter } from "./stop.ts";

/** What comes at once: a token and the text that it settles, which may be none; at the end text alone. */
export interface Piece {
  readonly text: string;
  readonly tokenIds: readonly number[];
  /** Of each token, when they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
}

export interface TokenLogprobs extends TokenProbability {
  /** The most probable tokens at this place. */
  readonly top: readonly TokenProbability[];
}

/** "stop": an end token or a stop string; "length": maxTokens, or the model's last position. */
export type FinishReason = "stop" | "length" | "cancelled";

export interface SequenceOptions {
  readonly engine: Engine;
  readonly prefixes: PrefixCache;
  readonly set: AdapterSet;
  readonly prompt: Tokens;
  /** Most tokens to generate. */
  readonly limit: number;
  readonly ends: ReadonlySet<number>;
  readonly sampler: Sampler;
  readonly filter: StopFilter;
  readonly stream: TextStream | null;
  /** How many best tokens to tell the probabilities of; null tells none. */
  readonly logprobs: number | null;
  readonly signal: AbortSignal | undefined;
  emit(piece: Piece): void;
  done(error: Error | null, reason: FinishReason): void;
}

/** Tokens reserved for a completion from the start; longer ones grow the cache on their way. */
const RESERVED = 192;
/** Tokens that a completion is counted with at most: few come to what they may have. */
const COUNTED = 1024;

export function sequenceJob(options: SequenceOptions): Job {
  const { engine, prefixes, set, prompt, limit, ends, sampler, filter, stream, logprobs, signal } = options;
  const { caches } = engine;
  const cacheable = set.virtual.prompt + set.virtual.prefix === 0;
  const made: number[] = [];
  let row: CacheRow | null = null;
  let next: Tokens = prompt;
  let reason: FinishReason | null = null;

  const settle = (text: string, tokenIds: readonly number[], scores: Float32Array | null): void => {
    const told = scores !== null && logprobs !== null ? logProbabilities(scores, tokenIds[0]!, logprobs) : null;
    options.emit({ text, tokenIds, ...(told ? { logprobs: [told] } : {}) });
  };

  return {
    width: 1,
    tokens: prompt.ids.length + Math.min(limit, COUNTED),
    begin() {
      row = caches.open(set.group, prompt.ids.length + Math.min(limit, RESERVED));
      const found = cacheable ? prefixes.find(set.identity, prompt.ids) : null;
      if (!found) return;
      caches.paste(row, found.copy, found.length);
      next = { ids: prompt.ids.subarray(found.length), virtual: prompt.virtual.subarray(found.length) };
    },
    works(): readonly Work[] {
      if (signal?.aborted) reason ??= "cancelled";
      if (reason === null && made.length >= limit) reason = "length";
      return reason === null ? [{ row: row!, tokens: next, set }] : [];
    },
    accept([scores]) {
      const token = sampler.next(scores!);
      made.push(token);
      sampler.seen(token, "completion");
      const ended = ends.has(token);
      settle(ended ? "" : filter.push(stream?.push(token) ?? ""), [token], scores!);
      if (ended || filter.stopped || sampler.complete) reason = "stop";
      next = { ids: Int32Array.of(token), virtual: new Int32Array(1) };
    },
    end(error) {
      if (row) {
        const held = row;
        if (error === null && cacheable) {
          const ids = Int32Array.from([...prompt.ids, ...made]).subarray(0, held.length);
          prefixes.add(set.identity, ids, () => caches.copy(held, held.length));
        }
        caches.close(held);
      }
      if (error === null && !filter.stopped) {
        let rest = filter.push(stream?.end() ?? "");
        if (filter.stopped) reason = "stop";
        else rest += filter.end();
        if (rest !== "") settle(rest, [], null);
      }
      options.done(error, reason ?? "cancelled");
    },
  };
}
