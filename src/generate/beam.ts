/**
 * Beam search as a job of the scheduler: the sequences of highest probability, several at a time.
 * Source of every rule: transformers `generation/utils.py`, `_beam_search` with early_stopping False; no-repeat n-grams
 * from `generation/logits_process.py`. Letters: K beams, V vocabulary.
 */

import type { AdapterSet } from "./adapter-set.ts";
import type { CacheRow } from "./cache.ts";
import type { Engine, Tokens } from "./engine.ts";
import type { Job } from "./scheduler.ts";
import type { FinishReason } from "./sequence.ts";

export interface BeamSettings {
  /** K: sequences that are followed at once. */
  readonly beams: number;
  /** Sums of log probabilities are divided by length to this power: above 0 favours long completions. */
  readonly lengthPenalty: number;
  /** No run of so many tokens may occur twice, the prompt counted; 0 allows all. */
  readonly noRepeatNgram: number;
}

export interface BeamOptions extends BeamSettings {
  readonly engine: Engine;
  readonly set: AdapterSet;
  readonly prompt: Tokens;
  /** Most tokens to generate. */
  readonly limit: number;
  readonly ends: ReadonlySet<number>;
  readonly signal: AbortSignal | undefined;
  /** The best sequence's tokens, an end token too. */
  done(error: Error | null, tokens: readonly number[], reason: FinishReason): void;
}

interface Beam {
  readonly row: CacheRow;
  readonly tokens: readonly number[];
  /** Sum of log probabilities. */
  readonly score: number;
}

interface Finished {
  readonly tokens: readonly number[];
  readonly score: number;
}

interface Candidate {
  readonly beam: Beam;
  readonly token: number;
  readonly score: number;
}

export function beamJob(options: BeamOptions): Job {
  const { engine, set, prompt, limit, ends, signal, beams: K, lengthPenalty, noRepeatNgram } = options;
  const { caches } = engine;
  const kept = Math.max(2, 1 + ends.size) * K; // enough to go on with when the best ones end
  let live: Beam[] = [];
  let finished: Finished[] = [];
  let over = false;

  const worst = (): number => finished.at(-1)!.score;

  /** The best children of all beams, best first. */
  const candidates = (scores: readonly Float32Array[]): Candidate[] => {
    const all = live.flatMap((beam, i) => {
      const logs = logSoftmax(scores[i]!);
      for (const token of repeated([...prompt.ids, ...beam.tokens], noRepeatNgram))
        logs[token] = Number.NEGATIVE_INFINITY;
      return best(logs, kept).map((token): Candidate => ({ beam, token, score: beam.score + logs[token]! }));
    });
    return all.toSorted((a, b) => b.score - a.score).slice(0, kept);
  };

  /** Rows for the chosen children: a parent's own goes to the first of them, the others get copies. */
  const descend = (chosen: readonly Candidate[]): Beam[] => {
    const taken = new Set<CacheRow>();
    const next = chosen.map(({ beam, token, score }): Beam => {
      const row = taken.has(beam.row) ? caches.fork(beam.row) : beam.row;
      taken.add(row);
      return { row, tokens: [...beam.tokens, token], score };
    });
    for (const { row } of live) if (!taken.has(row)) caches.close(row);
    return next;
  };

  return {
    width: K,
    tokens: K * (prompt.ids.length + limit),
    begin() {
      live = [{ row: caches.open(set.group, prompt.ids.length + limit), tokens: [], score: 0 }];
    },
    works() {
      if (over || signal?.aborted) return [];
      return live.map(({ row, tokens }) => {
        const last = { ids: Int32Array.of(tokens.at(-1) ?? 0), virtual: new Int32Array(1) };
        return { row, set, tokens: tokens.length === 0 ? prompt : last };
      });
    },
    accept(scores) {
      const length = live[0]!.tokens.length + 1;
      const all = candidates(scores);
      const ending = ({ token }: Candidate): boolean => ends.has(token) || length === limit;
      const ended = all.slice(0, K).filter(ending);
      const scored = ended.map(({ beam, token, score }): Finished => {
        return { tokens: [...beam.tokens, token], score: score / length ** lengthPenalty };
      });
      finished = [...finished, ...scored].toSorted((a, b) => b.score - a.score).slice(0, K);
      live = descend(all.filter((each) => !ending(each)).slice(0, K));
      const hope = (live[0]?.score ?? Number.NEGATIVE_INFINITY) / length ** lengthPenalty;
      over = length === limit || live.length === 0 || (finished.length === K && hope <= worst());
    },
    end(error) {
      for (const { row } of live) caches.close(row);
      const tokens = finished[0]?.tokens ?? live[0]?.tokens ?? [];
      const stopped = tokens.length > 0 && ends.has(tokens.at(-1)!);
      options.done(error, tokens, over ? (stopped ? "stop" : "length") : "cancelled");
    },
  };
}

function logSoftmax(scores: Float32Array): Float32Array {
  let top = Number.NEGATIVE_INFINITY;
  for (const score of scores) if (score > top) top = score;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - top);
  const shift = top + Math.log(sum);
  return scores.map((score) => score - shift);
}

/** The `count` tokens of highest value, best first. */
function best(values: Float32Array, count: number): number[] {
  const limit = values.slice().sort().at(-Math.min(count, values.length))!;
  const found: number[] = [];
  for (let i = 0; i < values.length; i++)
    if (values[i]! >= limit && values[i]! > Number.NEGATIVE_INFINITY) found.push(i);
  return found.toSorted((a, b) => values[b]! - values[a]! || a - b).slice(0, count);
}

/** Tokens that would end a run of `n` tokens which the sequence holds already. */
function repeated(tokens: readonly number[], n: number): Set<number> {
  const banned = new Set<number>();
  if (n === 0 || tokens.length + 1 < n) return banned;
  const tail = tokens.length - (n - 1);
  for (let at = 0; at + n <= tokens.length; at++) {
    let k = 0;
    while (k < n - 1 && tokens[at + k] === tokens[tail + k]) k++;
    if (k === n - 1) banned.add(tokens[at + n - 1]!);
  }
  return banned;
}
