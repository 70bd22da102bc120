/** Generation as a caller sees it: options in, pieces out as they come, the whole at the end. */

import type { Adapter } from "../adapters/adapter.ts";
import type { TextStream, Tokenizer } from "../data/tokenizer.ts";
import { ModelError, UsageError } from "../errors.ts";
import { type Base, demandTokenizer } from "../program/setup.ts";
import type { AdapterSet } from "./adapter-set.ts";
import { type BeamSettings, beamJob } from "./beam.ts";
import { type ChatRequest, renderChat } from "./chat.ts";
import type { Engine, Tokens } from "./engine.ts";
import type { Forms, TextForm } from "./form.ts";
import type { PrefixCache } from "./prefix-cache.ts";
import { createSampler, type Sampling } from "./sample.ts";
import type { Job, Scheduler } from "./scheduler.ts";
import { type FinishReason, type Piece, sequenceJob, type TokenLogprobs } from "./sequence.ts";
import { stopFilter } from "./stop.ts";

/** What to go on from: one of a text, which is used as it is, messages for the chat template, or token ids. */
export type Prompt =
  | { readonly prompt: string }
  | { readonly messages: ChatRequest["messages"]; readonly tools?: readonly unknown[] }
  | { readonly tokenIds: ArrayLike<number> };

export interface CompletionOptions extends Sampling {
  /** Most tokens of the completion. Default 128. */
  readonly maxTokens?: number;
  /** Tokens of prompt and completion together, where the model would take more. */
  readonly maxLength?: number;
  /** Texts that end the completion; they are no part of it. */
  readonly stop?: readonly string[];
  /** Go on past end tokens. */
  readonly ignoreEnd?: boolean;
  /** Beam search over so many sequences instead of one; the text comes at its end. Default 1. */
  readonly beams?: number;
  /** Of beams: sums of log probabilities are divided by length to this power. Default 1. */
  readonly lengthPenalty?: number;
  /** Of beams: no run of so many tokens may occur twice, the prompt counted. Default 0, which allows all. */
  readonly noRepeatNgram?: number;
  /** Special tokens, by their texts, that the completion's text shows: marks of tool calls are such in some models. */
  readonly shownTokens?: readonly string[];
  /** What the text is held to: JSON, a JSON schema, a regular expression, one of some texts. */
  readonly form?: TextForm;
  /** Tell each token's log probability, and those of so many best tokens beside it. */
  readonly logprobs?: number;
}

export type GenerateOptions<A = Adapter> = Prompt &
  CompletionOptions & {
    /** Adapters with their weights; their effects add up. */
    readonly adapters?: readonly (readonly [adapter: A, weight: number])[];
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
  presencePenalty: 0,
  frequencyPenalty: 0,
  beams: 1,
  lengthPenalty: 1,
  noRepeatNgram: 0,
  seed: 0,
} as const;

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
  readonly finishReason: FinishReason;
  readonly logprobs?: readonly TokenLogprobs[];
}

const MOST_BEAMS = 64;

export interface Generation {
  readonly base: Base;
  readonly engine: Engine;
  readonly scheduler: Scheduler;
  readonly prefixes: PrefixCache;
  readonly set: AdapterSet;
  readonly ends: ReadonlySet<number>;
  readonly forms: Forms;
}

/** Runs a completion among the others of the scheduler. Leaving the iteration early cancels it. */
export async function* generateTokens(
  generation: Generation,
  options: GenerateOptions,
): AsyncGenerator<Piece, Completion> {
  const started = performance.now();
  const cancel = new AbortController();
  const { signal } = cancel;
  const pieces: Piece[] = [];
  let wake: () => void = () => {};
  let outcome: { readonly error: Error | null; readonly reason: FinishReason } | null = null;
  const { job, promptTokens } = prepare(generation, options, {
    signal,
    emit: (piece) => {
      pieces.push(piece);
      wake();
    },
    done: (error, reason) => {
      outcome = { error, reason };
      wake();
    },
  });
  const withdraw = generation.scheduler.add(job);
  signal.addEventListener("abort", withdraw, { once: true });
  // Not AbortSignal.any: Node keeps such a signal, and all that its listeners hold, for as long as it has one.
  const abort = (): void => cancel.abort();
  options.signal?.addEventListener("abort", abort, { once: true });
  if (options.signal?.aborted) abort();
  const ended = (): typeof outcome => outcome;
  const made: Piece[] = [];
  let firstAt = started;
  try {
    for (;;) {
      const piece = pieces.shift();
      if (piece) {
        if (made.length === 0) firstAt = performance.now();
        made.push(piece);
        yield piece;
      } else if (ended()) break;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    options.signal?.removeEventListener("abort", abort);
    if (!ended()) cancel.abort();
  }
  const { error, reason } = ended()!;
  if (error) throw error;
  const finished = performance.now();
  const tokenIds = made.flatMap((piece) => piece.tokenIds);
  const count = tokenIds.length;
  return {
    text: made.map(({ text }) => text).join(""),
    tokenIds,
    promptTokens,
    completionTokens: count,
    firstTokenMs: firstAt - started,
    tokensPerSecond: count > 1 ? ((count - 1) * 1000) / (finished - firstAt) : (count * 1000) / (finished - started),
    finishReason: reason,
    ...(options.logprobs === undefined ? {} : { logprobs: made.flatMap(({ logprobs = [] }) => logprobs) }),
  };
}

interface Callbacks {
  readonly signal: AbortSignal;
  emit(piece: Piece): void;
  done(error: Error | null, reason: FinishReason): void;
}

/** Checks the options and makes a job of them. Throws UsageError and ModelError. */
function prepare(
  { base, engine, prefixes, set, ends, forms }: Generation,
  options: GenerateOptions,
  callbacks: Callbacks,
): { readonly job: Job; readonly promptTokens: number } {
  const { maxTokens = GENERATE_DEFAULTS.maxTokens, stop = [], ignoreEnd = false, logprobs } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new UsageError(`max tokens is ${maxTokens}; needed 1 or more.`);
  if (logprobs !== undefined && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= 20))
    throw new UsageError(`logprobs is ${logprobs}; needed 0 to 20.`);
  const ids = promptIds(base, options);
  const prompt = withVirtual(ids, set.virtual.prompt);
  const limit = Math.min(maxTokens, roomFor(base, set.virtual.prefix + prompt.ids.length, options.maxLength));
  const own = ignoreEnd ? new Set<number>() : ends;
  const beam = beamSettings(options);
  if (beam) {
    return {
      promptTokens: ids.length,
      job: beamJob({
        ...{ engine, set, prompt, limit, ends: own, ...beam, signal: callbacks.signal },
        done: (error, tokenIds, reason) => {
          const shown = tokenIds.filter((id, i) => i < tokenIds.length - 1 || !own.has(id));
          const text = base.tokenizer?.decode(shown, { skipSpecial: true }) ?? "";
          if (error === null && tokenIds.length > 0) callbacks.emit({ text, tokenIds });
          callbacks.done(error, reason);
        },
      }),
    };
  }
  const sampler = createSampler(options, options.form === undefined ? null : forms.guide(options.form));
  for (const id of ids) sampler.seen(id, "prompt");
  if (stop.length > 0) demandTokenizer(base);
  const job = sequenceJob({
    engine,
    prefixes,
    set,
    prompt,
    limit,
    ends: own,
    sampler,
    filter: stopFilter(stop),
    stream: textStream(base, options.shownTokens),
    logprobs: logprobs ?? null,
    ...callbacks,
  });
  return { job, promptTokens: ids.length };
}

function textStream({ tokenizer }: Base, shownTokens: readonly string[] = []): TextStream | null {
  if (!tokenizer) return null;
  const shown = new Set(shownTokens.map((text) => tokenizer.idOf(text)).filter((id) => id !== null));
  return tokenizer.stream({ skipSpecial: true, shown });
}

/** Null without beams. Throws UsageError for values that mean nothing, and for options that beams know nothing of. */
function beamSettings(options: CompletionOptions): BeamSettings | null {
  const { beams = 1, lengthPenalty = 1, noRepeatNgram = 0 } = options;
  if (!Number.isInteger(beams) || beams < 1 || beams > MOST_BEAMS)
    throw new UsageError(`beams is ${beams}; needed 1 to ${MOST_BEAMS}.`);
  if (!Number.isFinite(lengthPenalty)) throw new UsageError(`length penalty is ${lengthPenalty}; needed a number.`);
  if (!Number.isInteger(noRepeatNgram) || noRepeatNgram < 0)
    throw new UsageError(`no-repeat n-gram is ${noRepeatNgram}; needed a whole number from 0.`);
  if (beams === 1) return null;
  const { temperature = 0, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = options;
  const plain = repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && !options.logitBias;
  if (temperature !== 0 || !plain || options.stop?.length || options.logprobs !== undefined || options.form) {
    throw new UsageError(
      "Beam search draws nothing: leave temperature, penalties, biases, stop texts, forms and logprobs out.",
    );
  }
  return { beams, lengthPenalty, noRepeatNgram };
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
function roomFor({ model }: Base, used: number, maxLength: number | undefined): number {
  const positions = model.config.maxPositions ?? Number.POSITIVE_INFINITY;
  const limit = Math.min(positions + 1, maxLength ?? Number.POSITIVE_INFINITY);
  if (used >= limit) {
    throw new ModelError(
      `The prompt has ${used} tokens; ${model.name} takes ${Math.min(positions, limit - 1)} here. Shorten it.`,
    );
  }
  return limit - used;
}
