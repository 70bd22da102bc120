/** Answers in OpenAI's shapes. */

import type { ToolCall } from "../generate/tool-format.ts";
import type { NamedToken, ServedCompletion, ServedPiece } from "./protocol.ts";

export interface AnswerFacts {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly chat: boolean;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function usageOf(completions: readonly ServedCompletion[], prompts: number): Usage {
  const perPrompt = completions.length / prompts; // choices of one prompt share its tokens
  const prompt_tokens = completions.reduce(
    (sum, { promptTokens }, i) => sum + (i % perPrompt === 0 ? promptTokens : 0),
    0,
  );
  const completion_tokens = completions.reduce((sum, each) => sum + each.completionTokens, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

type FinishReason = ServedCompletion["finishReason"];

interface Choice {
  readonly text: string;
  readonly logprobs: readonly NamedToken[] | null;
  readonly calls: readonly ToolCall[];
  readonly finish: FinishReason;
}

/** A whole answer. */
export function wholeAnswer(facts: AnswerFacts, choices: readonly Choice[], usage: Usage): Record<string, unknown> {
  return {
    ...head(facts, facts.chat ? "chat.completion" : "text_completion"),
    choices: choices.map(({ text, logprobs, calls, finish }, index) => ({
      index,
      ...(facts.chat ? { message: messageOf(text, calls) } : { text }),
      logprobs: logprobs && logprobsOf(facts.chat, logprobs),
      finish_reason: reasonOf(finish, calls.length > 0),
    })),
    usage,
  };
}

function messageOf(text: string, calls: readonly ToolCall[]): Record<string, unknown> {
  const message = { role: "assistant", content: text === "" && calls.length > 0 ? null : text, refusal: null };
  if (calls.length === 0) return message;
  const tool_calls = calls.map(({ id, name, arguments: given }) => ({
    id,
    type: "function",
    function: { name, arguments: given },
  }));
  return { ...message, tool_calls };
}

/** The first chunk of a choice, which tells the role. */
export function roleChunk(facts: AnswerFacts, index: number): Record<string, unknown> {
  return chunk(facts, [{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }]);
}

export function pieceChunk(
  facts: AnswerFacts,
  index: number,
  { text, logprobs }: ServedPiece,
): Record<string, unknown> {
  const told = logprobs ? logprobsOf(facts.chat, logprobs) : null;
  const body = facts.chat ? { delta: { content: text } } : { text };
  return chunk(facts, [{ index, ...body, logprobs: told, finish_reason: null }]);
}

/** A call of a tool: its name, then its arguments. `at` is its place among the choice's calls. */
export function callChunks(
  facts: AnswerFacts,
  index: number,
  at: number,
  { id, name, arguments: given }: ToolCall,
): Record<string, unknown>[] {
  const head = { index: at, id, type: "function", function: { name, arguments: "" } };
  return [head, { index: at, function: { arguments: given } }].map((each) =>
    chunk(facts, [{ index, delta: { tool_calls: [each] }, logprobs: null, finish_reason: null }]),
  );
}

export function endChunk(
  facts: AnswerFacts,
  index: number,
  reason: FinishReason,
  called: boolean,
): Record<string, unknown> {
  const body = facts.chat ? { delta: {} } : { text: "" };
  return chunk(facts, [{ index, ...body, logprobs: null, finish_reason: reasonOf(reason, called) }]);
}

export function usageChunk(facts: AnswerFacts, usage: Usage): Record<string, unknown> {
  return { ...chunk(facts, []), usage };
}

function chunk(facts: AnswerFacts, choices: readonly unknown[]): Record<string, unknown> {
  return { ...head(facts, facts.chat ? "chat.completion.chunk" : "text_completion"), choices };
}

function head({ id, created, model }: AnswerFacts, object: string): Record<string, unknown> {
  return { id, object, created, model, system_fingerprint: null };
}

/** OpenAI knows no cancelled answers; a client that went away reads none. */
function reasonOf(reason: FinishReason, called: boolean): "stop" | "length" | "tool_calls" {
  if (reason === "length") return reason;
  return called ? "tool_calls" : "stop";
}

function logprobsOf(chat: boolean, tokens: readonly NamedToken[]): unknown {
  const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];
  if (chat) {
    const named = ({ text, logprob }: { text: string; logprob: number }): object => ({
      token: text,
      logprob,
      bytes: bytes(text),
    });
    return { content: tokens.map((token) => ({ ...named(token), top_logprobs: token.top.map(named) })), refusal: null };
  }
  let offset = 0;
  const text_offset = tokens.map(({ text }) => {
    const at = offset;
    offset += text.length;
    return at;
  });
  return {
    tokens: tokens.map(({ text }) => text),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ top }) => Object.fromEntries(top.map(({ text, logprob }) => [text, logprob]))),
    text_offset,
  };
}
