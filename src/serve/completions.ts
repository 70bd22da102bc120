/** Completions of one request: several prompts and choices at once, as one answer or as a stream of events. */

import type { CompletionOptions } from "../generate/generate.ts";
import { TOOL_MARKS, type ToolCall } from "../generate/tool-format.ts";
import type { ToolUse } from "../generate/tool-parser.ts";
import { mailbox } from "../runtime/mailbox.ts";
import type { EngineThread } from "./engine-thread.ts";
import { HttpError } from "./http-error.ts";
import type { NamedToken, ServedCompletion, ServedPrompt } from "./protocol.ts";
import {
  type AnswerFacts,
  callChunks,
  endChunk,
  pieceChunk,
  roleChunk,
  type Usage,
  usageChunk,
  usageOf,
  wholeAnswer,
} from "./responses.ts";
import { type ChoiceEvent, withToolCalls } from "./tool-events.ts";

export interface CompletionCall {
  readonly thread: Pick<EngineThread, "generate">;
  readonly facts: AnswerFacts;
  readonly prompts: readonly ServedPrompt[];
  /** Completions of each prompt. */
  readonly choices: number;
  readonly options: CompletionOptions;
  readonly adapters: readonly (readonly [adapter: number, weight: number])[];
  /** Null: what the model writes is text. */
  readonly tools: ToolUse | null;
  readonly signal: AbortSignal;
  /** Told of the first token. */
  onFirst(): void;
}

/** The whole answer. */
export async function answer(call: CompletionCall): Promise<{ body: Record<string, unknown>; usage: Usage }> {
  const count = call.prompts.length * call.choices;
  const texts = new Array<string>(count).fill("");
  const logprobs = Array.from({ length: count }, (): NamedToken[] => []);
  const calls = Array.from({ length: count }, (): ToolCall[] => []);
  const completions = new Array<ServedCompletion>(count);
  for await (const { index, piece, completion } of events(call)) {
    if (piece) {
      texts[index] += piece.text;
      logprobs[index]!.push(...(piece.logprobs ?? []));
      calls[index]!.push(...(piece.calls ?? []));
    }
    if (completion) completions[index] = completion;
  }
  const usage = usageOf(completions, call.prompts.length);
  const told = call.options.logprobs !== undefined;
  const choices = texts.map((text, i) => ({
    text,
    logprobs: told ? logprobs[i]! : null,
    calls: calls[i]!,
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
  const called = new Map<number, number>(); // calls of each choice that has begun
  for await (const { index, piece, completion } of events(call)) {
    if (call.facts.chat && !called.has(index)) yield roleChunk(call.facts, index);
    const before = called.get(index) ?? 0;
    called.set(index, before + (piece?.calls?.length ?? 0));
    if (piece && (piece.text !== "" || piece.logprobs)) yield pieceChunk(call.facts, index, piece);
    for (const [i, each] of (piece?.calls ?? []).entries()) yield* callChunks(call.facts, index, before + i, each);
    if (completion) {
      completions[index] = completion;
      yield endChunk(call.facts, index, completion.finishReason, called.get(index)! > 0);
    }
  }
  const usage = usageOf(completions, call.prompts.length);
  if (includeUsage) yield usageChunk(call.facts, usage);
  return usage;
}

function events(call: CompletionCall): AsyncGenerator<ChoiceEvent> {
  return call.tools ? withToolCalls(merged(call), call.tools) : merged(call);
}

/** What all completions of the call do; the first that fails ends them all. */
async function* merged(call: CompletionCall): AsyncGenerator<ChoiceEvent> {
  const stop = new AbortController();
  const signal = AbortSignal.any([call.signal, stop.signal]);
  const { put, take } = mailbox<ChoiceEvent | { readonly error: unknown }>();
  let open = 0;
  let first = true;
  const follow = async (index: number, prompt: ServedPrompt, choice: number): Promise<void> => {
    const { adapters, tools } = call;
    const seed = (call.options.seed ?? 0) + choice;
    const options = { ...call.options, seed, ...(tools ? { shownTokens: TOOL_MARKS[tools.format] } : {}) };
    const pieces = call.thread.generate({ prompt, options, adapters }, signal);
    try {
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) {
          put({ index, completion: value });
          return;
        }
        if (first) call.onFirst();
        first = false;
        put({ index, piece: value });
      }
    } catch (error) {
      put({ error });
    }
  };
  const runs = call.prompts.flatMap((prompt, at) =>
    Array.from({ length: call.choices }, (_, choice) => {
      open++;
      return follow(at * call.choices + choice, prompt, choice);
    }),
  );
  try {
    // A choice's completion is its last event: none is left to read when all of them are there.
    while (open > 0) {
      const event = await take();
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
