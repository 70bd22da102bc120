/** Completions of one request: several prompts and choices at once, as one answer or as a stream of events. */

import type { CompletionOptions } from "../generate/generate.ts";
import type { EngineThread } from "./engine-thread.ts";
import { HttpError } from "./http-error.ts";
import type { NamedToken, ServedCompletion, ServedPiece, ServedPrompt } from "./protocol.ts";
import {
  type AnswerFacts,
  endChunk,
  pieceChunk,
  roleChunk,
  type Usage,
  usageChunk,
  usageOf,
  wholeAnswer,
} from "./responses.ts";

export interface CompletionCall {
  readonly thread: Pick<EngineThread, "generate">;
  readonly facts: AnswerFacts;
  readonly prompts: readonly ServedPrompt[];
  /** Completions of each prompt. */
  readonly choices: number;
  readonly options: CompletionOptions;
  readonly adapters: readonly (readonly [adapter: number, weight: number])[];
  readonly signal: AbortSignal;
  /** Told of the first token. */
  onFirst(): void;
}

interface Event {
  readonly index: number;
  readonly piece?: ServedPiece;
  readonly completion?: ServedCompletion;
}

/** The whole answer. */
export async function answer(call: CompletionCall): Promise<{ body: Record<string, unknown>; usage: Usage }> {
  const count = call.prompts.length * call.choices;
  const texts = new Array<string>(count).fill("");
  const logprobs = Array.from({ length: count }, (): NamedToken[] => []);
  const completions = new Array<ServedCompletion>(count);
  for await (const { index, piece, completion } of events(call)) {
    if (piece) {
      texts[index] += piece.text;
      logprobs[index]!.push(...(piece.logprobs ?? []));
    }
    if (completion) completions[index] = completion;
  }
  const usage = usageOf(completions, call.prompts.length);
  const told = call.options.logprobs !== undefined;
  const choices = texts.map((text, i) => ({
    text,
    logprobs: told ? logprobs[i]! : null,
    finish: completions[i]!.finishReason,
  }));
  return { body: wholeAnswer(call.facts, choices, usage), usage };
}

/** The answer as chunks, in the order in which they come. Returns the usage. */
export async function* chunks(
  call: CompletionCall,
  includeUsage: boolean,
): AsyncGenerator<Record<string, unknown>, Usage> {
  const completions: ServedCompletion[] = [];
  const begun = new Set<number>();
  for await (const { index, piece, completion } of events(call)) {
    if (call.facts.chat && !begun.has(index)) yield roleChunk(call.facts, index);
    begun.add(index);
    if (piece && (piece.text !== "" || piece.logprobs)) yield pieceChunk(call.facts, index, piece);
    if (completion) {
      completions[index] = completion;
      yield endChunk(call.facts, index, completion);
    }
  }
  const usage = usageOf(completions, call.prompts.length);
  if (includeUsage) yield usageChunk(call.facts, usage);
  return usage;
}

/** What all completions of the call do, merged; the first that fails ends them all. */
async function* events(call: CompletionCall): AsyncGenerator<Event> {
  const stop = new AbortController();
  const signal = AbortSignal.any([call.signal, stop.signal]);
  const waiting: (Event | { readonly error: unknown })[] = [];
  let wake: () => void = () => {};
  let open = 0;
  let first = true;
  const push = (event: (typeof waiting)[number]): void => {
    waiting.push(event);
    wake();
  };
  const follow = async (index: number, prompt: ServedPrompt, choice: number): Promise<void> => {
    const { options, adapters } = call;
    const seed = (options.seed ?? 0) + choice;
    const pieces = call.thread.generate({ prompt, options: { ...options, seed }, adapters }, signal);
    try {
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) {
          push({ index, completion: value });
          return;
        }
        if (first) call.onFirst();
        first = false;
        push({ index, piece: value });
      }
    } catch (error) {
      push({ error });
    }
  };
  const runs = call.prompts.flatMap((prompt, at) =>
    Array.from({ length: call.choices }, (_, choice) => {
      open++;
      return follow(at * call.choices + choice, prompt, choice);
    }),
  );
  try {
    while (open > 0 || waiting.length > 0) {
      const event = waiting.shift();
      if (!event) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if ("error" in event) throw event.error;
      if (event.completion) {
        open--;
        if (event.completion.finishReason === "cancelled") throw new HttpError(504, "The request took too long.");
      }
      yield event;
    }
  } finally {
    stop.abort();
    await Promise.all(runs);
  }
}
