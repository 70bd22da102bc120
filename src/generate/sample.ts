/**
 * The choice of the next token from its scores, with transformers' rules and order (`generation/logits_process.py`):
 * bias, repetition penalty, temperature, top-k, top-p, min-p, draw. Presence and frequency penalties are OpenAI's.
 */

import { UsageError } from "../errors.ts";
import type { Guide } from "../grammar/guide.ts";
import { type Random, randomStream } from "../tensor/random.ts";

export interface Sampling {
  /** Divides the scores; 0 takes the best token, without drawing. Default 0. */
  readonly temperature?: number;
  /** Draw from this many best tokens, and those that tie with the last of them; 0 takes all. Default 0. */
  readonly topK?: number;
  /** Draw from the fewest best tokens whose probabilities reach this sum, 0 to 1. Default 1, which takes all. */
  readonly topP?: number;
  /** Draw from tokens with at least this share of the best one's probability, 0 to 1. Default 0. */
  readonly minP?: number;
  /** Makes tokens of prompt and completion less likely when above 1. Default 1. */
  readonly repetitionPenalty?: number;
  /** Taken off the score of every token that the completion holds, -2 to 2. Default 0. */
  readonly presencePenalty?: number;
  /** Taken off the score of a token for each time that the completion holds it, -2 to 2. Default 0. */
  readonly frequencyPenalty?: number;
  /** Added to the scores of tokens by id, -100 to 100. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** Fixes the draws. Default 0. */
  readonly seed?: number;
}

export interface Sampler {
  /** The next token for scores [V], which are left as they are. */
  next(scores: Float32Array): number;
  /** Tells of a token of the sequence: of the prompt, or one that was generated. */
  seen(token: number, from: "prompt" | "completion"): void;
  /** Whether the text has the form that it is held to, and nothing can follow. */
  readonly complete: boolean;
}

/** Draws within what `guide` allows. Throws UsageError for values that mean nothing. */
export function createSampler(options: Sampling = {}, guide: Guide | null = null): Sampler {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0 } = options;
  const { presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = options;
  demand(temperature >= 0 && Number.isFinite(temperature), "temperature", temperature, "a number from 0");
  demand(Number.isInteger(topK) && topK >= 0, "top-k", topK, "a whole number from 0");
  demand(topP > 0 && topP <= 1, "top-p", topP, "a number above 0, to 1");
  demand(minP >= 0 && minP <= 1, "min-p", minP, "a number from 0 to 1");
  demand(
    repetitionPenalty > 0 && Number.isFinite(repetitionPenalty),
    "repetition penalty",
    repetitionPenalty,
    "a number above 0",
  );
  demand(Number.isSafeInteger(seed), "seed", seed, "a whole number");
  for (const [name, penalty] of [
    ["presence penalty", presencePenalty],
    ["frequency penalty", frequencyPenalty],
  ] as const) {
    demand(Math.abs(penalty) <= 2, name, penalty, "a number from -2 to 2");
  }
  const biases = Object.entries(logitBias).map(([id, bias]) => [Number(id), bias] as const);
  for (const [id, bias] of biases) {
    demand(Number.isInteger(id) && id >= 0, "a token of the logit bias", id, "a whole number from 0");
    demand(Math.abs(bias) <= 100, "a logit bias", bias, "a number from -100 to 100");
  }
  const random = randomStream(seed);
  const before = new Set<number>();
  const counts = new Map<number, number>();
  const changes =
    guide !== null || biases.length > 0 || repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;

  const changed = (scores: Float32Array): Float32Array => {
    if (!changes) return scores;
    const all = scores.slice();
    for (const [token, bias] of biases) if (token < all.length) all[token]! += bias;
    if (repetitionPenalty !== 1) penalise(all, before, repetitionPenalty);
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [token, count] of counts) all[token]! -= presencePenalty + count * frequencyPenalty;
    }
    guide?.restrict(all);
    return all;
  };

  return {
    seen: (token, from) => {
      before.add(token);
      if (from === "prompt") return;
      counts.set(token, (counts.get(token) ?? 0) + 1);
      guide?.accept(token);
    },
    get complete() {
      return guide?.complete ?? false;
    },
    next: (scores) => {
      const own = changed(scores);
      if (temperature === 0) return largest(own);
      return draw(candidates(own, { temperature, topK, topP, minP }), random);
    },
  };
}

/** The index of the largest score; of equal ones the first. */
export function largest(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[best]!) best = i;
  return best;
}

interface Candidate {
  readonly token: number;
  /** Not normalised: 1 for the best token. */
  readonly probability: number;
}

/** The tokens to draw from, by falling probability, ties by number. */
function candidates(
  scores: Float32Array,
  { temperature, topK, topP, minP }: Required<Pick<Sampling, "temperature" | "topK" | "topP" | "minP">>,
): Candidate[] {
  const limit = topK > 0 && topK < scores.length ? nthLargest(scores, topK) : Number.NEGATIVE_INFINITY;
  const best = scores[largest(scores)]!;
  const probability = (score: number): number => Math.exp((score - best) / temperature);
  let sum = 0;
  let count = 0;
  for (const score of scores) {
    if (score < limit || score === Number.NEGATIVE_INFINITY) continue;
    sum += probability(score);
    count++;
  }
  // Tokens below this hold together less than what top-p leaves out, so that few are left to sort.
  const floor = topP < 1 ? ((1 - topP) * sum) / count : 0;
  const kept: Candidate[] = [];
  for (let token = 0; token < scores.length; token++) {
    if (scores[token]! < limit || scores[token] === Number.NEGATIVE_INFINITY) continue;
    const p = probability(scores[token]!);
    if (p >= floor) kept.push({ token, probability: p });
  }
  if (topP < 1) {
    kept.sort((a, b) => b.probability - a.probability || a.token - b.token);
    let reached = 0;
    let length = 0;
    while (length < kept.length && reached < topP * sum) reached += kept[length++]!.probability;
    kept.length = Math.max(1, length);
  }
  return minP > 0 ? kept.filter((each) => each.probability >= minP) : kept;
}

function draw(from: readonly Candidate[], random: Random): number {
  let rest = random.uniform() * from.reduce((sum, { probability }) => sum + probability, 0);
  for (const { token, probability } of from) {
    rest -= probability;
    if (rest < 0) return token;
  }
  return from.at(-1)!.token;
}

function penalise(scores: Float32Array, tokens: Iterable<number>, penalty: number): void {
  for (const token of tokens) {
    const score = scores[token];
    if (score !== undefined) scores[token] = score < 0 ? score * penalty : score / penalty;
  }
}

/** A token with the natural logarithm of its probability. */
export interface TokenProbability {
  readonly token: number;
  readonly logprob: number;
}

/** The model's own log probability of `token`, and of the `top` best ones, before sampling's options. */
export function logProbabilities(
  scores: Float32Array,
  token: number,
  top: number,
): TokenProbability & { readonly top: readonly TokenProbability[] } {
  const best = scores[largest(scores)]!;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - best);
  const shift = best + Math.log(sum);
  const limit = top > 0 ? nthLargest(scores, Math.min(top, scores.length)) : Number.POSITIVE_INFINITY;
  const found: TokenProbability[] = [];
  for (let i = 0; i < scores.length; i++)
    if (scores[i]! >= limit) found.push({ token: i, logprob: scores[i]! - shift });
  found.sort((a, b) => b.logprob - a.logprob || a.token - b.token);
  return { token, logprob: scores[token]! - shift, top: found.slice(0, top) };
}

/** The n-th largest score: the smallest of a heap of the n largest. */
function nthLargest(scores: Float32Array, n: number): number {
  const heap = scores.slice(0, n).sort();
  for (let i = n; i < scores.length; i++) {
    const score = scores[i]!;
    if (score <= heap[0]!) continue;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= n) break;
      if (child + 1 < n && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= score) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = score;
  }
  return heap[0]!;
}

function demand(fits: boolean, name: string, found: number, needed: string): void {
  if (!fits) throw new UsageError(`${name} is ${found}; needed ${needed}.`);
}
