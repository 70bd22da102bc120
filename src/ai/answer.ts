/** What a completion says, in the AI SDK's parts: text, and calls of tools where the request has such. */

import type {
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage,
} from "@ai-sdk/provider";
import type { Completion } from "../generate/generate.ts";
import type { Piece } from "../generate/sequence.ts";
import type { ToolCall } from "../generate/tool-format.ts";
import { type ToolText, type ToolUse, toolReader } from "../generate/tool-parser.ts";

export interface Answering {
  readonly pieces: AsyncGenerator<Piece, Completion>;
  readonly tools: ToolUse | null;
  readonly signal: AbortSignal;
}

export interface Finish {
  readonly finishReason: LanguageModelV3FinishReason;
  readonly usage: LanguageModelV3Usage;
}

/** Text and calls as they come; returns how it ended. Throws the signal's reason for a completion that was cancelled. */
async function* spoken({ pieces, tools, signal }: Answering): AsyncGenerator<ToolText, Finish> {
  const reader = tools && toolReader(tools);
  let called = false;
  const noted = (said: ToolText): ToolText => {
    called ||= said.calls.length > 0;
    return said;
  };
  for (;;) {
    const { done, value } = await pieces.next();
    if (!done) {
      yield noted(reader ? reader.push(value.text) : { text: value.text, calls: [] });
      continue;
    }
    if (value.finishReason === "cancelled") throw signal.reason;
    if (reader) yield noted(reader.end());
    return { finishReason: reasonOf(value, called), usage: usageOf(value) };
  }
}

/** The whole answer. */
export async function wholeAnswer(answering: Answering): Promise<Finish & { content: LanguageModelV3Content[] }> {
  let text = "";
  const calls: ToolCall[] = [];
  for (const said = spoken(answering); ; ) {
    const { done, value } = await said.next();
    if (done) {
      const content: LanguageModelV3Content[] = text === "" ? [] : [{ type: "text", text }];
      return { ...value, content: [...content, ...calls.map(callContent)] };
    }
    text += value.text;
    calls.push(...value.calls);
  }
}

/** The answer's parts as they come, "finish" the last. A call is told when it is whole. */
export async function* streamParts(answering: Answering): AsyncGenerator<LanguageModelV3StreamPart, void> {
  let texts = 0;
  let open: string | null = null;
  const said = spoken(answering);
  for (;;) {
    const { done, value } = await said.next();
    const ends = done || value.calls.length > 0;
    if (!done && value.text !== "") {
      if (open === null) {
        open = `text-${texts++}`;
        yield { type: "text-start", id: open };
      }
      yield { type: "text-delta", id: open, delta: value.text };
    }
    if (ends && open !== null) {
      yield { type: "text-end", id: open };
      open = null;
    }
    if (done) {
      yield { type: "finish", ...value };
      return;
    }
    for (const call of value.calls) {
      yield { type: "tool-input-start", id: call.id, toolName: call.name };
      yield { type: "tool-input-delta", id: call.id, delta: call.arguments };
      yield { type: "tool-input-end", id: call.id };
      yield callContent(call);
    }
  }
}

function callContent({ id, name, arguments: input }: ToolCall) {
  return { type: "tool-call", toolCallId: id, toolName: name, input } as const;
}

function reasonOf({ finishReason }: Completion, called: boolean): LanguageModelV3FinishReason {
  if (called && finishReason === "stop") return { unified: "tool-calls", raw: finishReason };
  return { unified: finishReason === "cancelled" ? "other" : finishReason, raw: finishReason };
}

function usageOf({ promptTokens, completionTokens }: Completion): LanguageModelV3Usage {
  return {
    inputTokens: { total: promptTokens, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
    outputTokens: { total: completionTokens, text: completionTokens, reasoning: undefined },
  };
}
