/** The loop of generation: prompt, then token by token, with text streamed as it is settled. */

import type { Tokenizer } from "../data/tokenizer.ts";
import { ModelError, UsageError } from "../errors.ts";
import { type Base, demandTokenizer } from "../program/setup.ts";
import type { AdapterSet, WeightedAdapter } from "./adapter-set.ts";
import { createCache } from "./cache.ts";
import { type ChatRequest, renderChat } from "./chat.ts";
import type { Engine, Tokens } from "./engine.ts";
import { createSampler, type Sampling } from "./sample.ts";
import { stopFilter } from "./stop.ts";

/** What to go on from: one of a text, which is used as it is, messages for the chat template, or token ids. */
export type Prompt =
  | { readonly prompt: string }
  | { readonly messages: ChatRequest["messages"]; readonly tools?: readonly unknown[] }
  | { readonly tokenIds: ArrayLike<number> };

export type GenerateOptions = Prompt &
  Sampling & {
    /** Most tokens of the completion. Default 128. */
    readonly maxTokens?: number;
    /** Texts that end the completion; they are no part of it. */
    readonly stop?: readonly string[];
    /** Go on past end tokens. */
    readonly ignoreEnd?: boolean;
    /** Adapters with their weights; their effects add up. */
    readonly adapters?: readonly WeightedAdapter[];
    /** Ends the completion early, with finishReason "cancelled". */
    readonly signal?: AbortSignal;
  };

export const GENERATE_DEFAULTS = {
  maxTokens: 128,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
} as const;

/** What comes at once: a token and the text that it settles, which may be none; at the end text alone. */
export interface Piece {
  readonly text: string;
  readonly tokenIds: readonly number[];
}

export interface Completion {
  /** Without special tokens and stop strings; "" for a model without a tokenizer. */
  readonly text: string;
  /** Every token that was generated, an end token too. */
  readonly tokenIds: readonly number[];
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Milliseconds from the call to the first token. */
  readonly firstTokenMs: number;
  /** Of the tokens after the first; of the first when it is the only one. */
  readonly tokensPerSecond: number;
  /** "stop": an end token or a stop string; "length": maxTokens, or the model's last position. */
  readonly finishReason: "stop" | "length" | "cancelled";
}

export interface Generation {
  readonly base: Base;
  readonly engine: Engine;
  readonly set: AdapterSet;
  readonly ends: ReadonlySet<number>;
}

/** Tokens reserved for a completion from the start; longer ones grow the cache on their way. */
const RESERVED = 192;

export async function* generateTokens(
  generation: Generation,
  options: GenerateOptions,
): AsyncGenerator<Piece, Completion> {
  const started = performance.now();
  const { base, engine, set, ends } = generation;
  const { maxTokens = GENERATE_DEFAULTS.maxTokens, stop = [], ignoreEnd = false, signal } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new UsageError(`max tokens is ${maxTokens}; needed 1 or more.`);
  const ids = promptIds(base, options);
  const prompt = withVirtual(ids, set.virtual.prompt);
  const limit = Math.min(maxTokens, roomFor(base, set.virtual.prefix + prompt.ids.length));
  const sampler = createSampler(options);
  for (const id of ids) sampler.seen(id);
  const filter = stopFilter(stop);
  const stream = base.tokenizer?.stream();
  if (stop.length > 0) demandTokenizer(base);

  const cache = createCache(base.model.config);
  cache.reserve(prompt.ids.length + Math.min(limit, RESERVED));
  const tokenIds: number[] = [];
  let text = "";
  let finishReason: Completion["finishReason"] = "length";
  let firstAt = started;
  let next: Tokens = prompt;
  while (tokenIds.length < limit) {
    if (signal?.aborted) {
      finishReason = "cancelled";
      break;
    }
    const token = sampler.next(await engine.extend(cache, next, set));
    if (tokenIds.length === 0) firstAt = performance.now();
    tokenIds.push(token);
    sampler.seen(token);
    const ended = ends.has(token) && !ignoreEnd;
    const fresh = ended ? "" : filter.push(stream?.push(token) ?? "");
    text += fresh;
    yield { text: fresh, tokenIds: [token] };
    if (ended || filter.stopped) {
      finishReason = "stop";
      break;
    }
    next = { ids: Int32Array.of(token), virtual: new Int32Array(1) };
  }
  if (!filter.stopped) {
    let rest = filter.push(stream?.end() ?? "");
    if (filter.stopped) finishReason = "stop";
    else rest += filter.end();
    text += rest;
    if (rest !== "") yield { text: rest, tokenIds: [] };
  }
  const finished = performance.now();
  const count = tokenIds.length;
  return {
    text,
    tokenIds,
    promptTokens: ids.length,
    completionTokens: count,
    firstTokenMs: firstAt - started,
    tokensPerSecond: count > 1 ? ((count - 1) * 1000) / (finished - firstAt) : (count * 1000) / (finished - started),
    finishReason,
  };
}

/** The prompt's token ids. Throws UsageError for none, and for ids that the model does not have. */
export function promptIds(base: Base, prompt: Prompt): Int32Array {
  const ids = encodePrompt(base, prompt);
  const { vocabularySize } = base.model.config;
  const beyond = ids.find((id) => id < 0 || id >= vocabularySize);
  if (beyond !== undefined) {
    throw new UsageError(`The prompt holds the token ${beyond}; the model has tokens 0 to ${vocabularySize - 1}.`);
  }
  if (ids.length === 0) throw new UsageError("The prompt has no tokens. Give it a text.");
  return ids;
}

function encodePrompt(base: Base, prompt: Prompt): Int32Array {
  if ("tokenIds" in prompt) return Int32Array.from(prompt.tokenIds);
  const tokenizer: Tokenizer = demandTokenizer(base);
  if ("prompt" in prompt) return tokenizer.encode(prompt.prompt, { special: true });
  return tokenizer.encode(renderChat(tokenizer, base.model.folder, prompt), { special: false });
}

/** The tokens with `count` virtual ones before them. */
export function withVirtual(ids: Int32Array, count: number): Tokens {
  const all = new Int32Array(count + ids.length);
  all.set(ids, count);
  return { ids: all, virtual: all.map((_, i) => (i < count ? i + 1 : 0)) };
}

/** Tokens that fit behind `used` ones: the last needs no position of its own. Throws ModelError when the prompt is too long. */
function roomFor({ model }: Base, used: number): number {
  const positions = model.config.maxPositions ?? Number.POSITIVE_INFINITY;
  if (used > positions) {
    throw new ModelError(`The prompt has ${used} tokens; ${model.name} takes ${positions}. Shorten it.`);
  }
  return positions - used + 1;
}
