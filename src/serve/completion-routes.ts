/** Texts and chats: a request waits for its place and its adapters, is answered whole or as a stream, and ends. */

import { randomUUID } from "node:crypto";
import type { Context, Hono } from "hono";
import type { CompletionOptions } from "../generate/generate.ts";
import { demandedUse } from "../generate/tool-form.ts";
import type { ToolFormat } from "../generate/tool-format.ts";
import type { ToolUse } from "../generate/tool-parser.ts";
import { answer, type CompletionCall, chunks } from "./completions.ts";
import { eventStream } from "./event-stream.ts";
import type { ServedPrompt } from "./protocol.ts";
import type { Held } from "./registry.ts";
import {
  type ChatRequest,
  type CompletionRequest,
  chatPrompt,
  completionOptions,
  demandedTools,
  promptsOf,
  readRequest,
} from "./requests.ts";
import type { Usage } from "./responses.ts";
import { jsonBody, type Served, setOf, type Underway } from "./served.ts";

/** Tokens of a completion whose request names no number: as vLLM, 16 for a text, what fits for a chat. */
const COMPLETION_TOKENS = 16;

export function completionRoutes(app: Hono, served: Served): void {
  app.post("/v1/completions", async (c) => {
    const request = readRequest.completion(await jsonBody(c));
    return complete(c, served, request, promptsOf(request), completionOptions(request, COMPLETION_TOKENS));
  });
  app.post("/v1/chat/completions", async (c) => {
    const request = readRequest.chat(await jsonBody(c));
    const options = completionOptions(request, served.thread.facts.maxLength);
    return complete(c, served, request, [chatPrompt(request)], options);
  });
}

async function complete(
  c: Context,
  served: Served,
  request: CompletionRequest | ChatRequest,
  prompts: readonly ServedPrompt[],
  sampling: CompletionOptions,
): Promise<Response> {
  const { thread, registry, admission, metrics, baseName, hidden, underway } = served;
  const begun = performance.now();
  const seconds = (): number => (performance.now() - begun) / 1000;
  const choices = request.n ?? 1;
  const set = setOf(served, request);
  const leave = admission.enter(prompts.length * choices);
  const timeout = AbortSignal.timeout(served.requestSeconds * 1000);
  const gone = new AbortController();
  const signal = AbortSignal.any([timeout, gone.signal, c.req.raw.signal]);
  let held: Held | null = null;
  let state: Underway | null = null;
  let first: number | null = null;
  const finish = (usage: Usage | null): void => {
    held?.release();
    held = null;
    if (state) underway.delete(state);
    leave();
    if (!usage) return;
    const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = usage;
    metrics.succeeded({ first, whole: seconds(), promptTokens, completionTokens });
  };
  try {
    held = await registry.hold(set);
    const mine: Underway = { names: held.names, first: false };
    state = mine;
    underway.add(mine);
    const chat = "messages" in request;
    const call: CompletionCall = {
      thread,
      facts: {
        id: `${chat ? "chatcmpl" : "cmpl"}-${randomUUID()}`,
        created: Math.floor(Date.now() / 1000),
        model: request.model || baseName,
        chat,
      },
      prompts,
      choices,
      options: { ...sampling, maxLength: thread.facts.maxLength },
      adapters: held.adapters,
      tools: toolUse(request, thread.facts.toolFormat),
      signal,
      onFirst: () => {
        mine.first = true;
        first = seconds();
      },
    };
    if (!request.stream) {
      const { body, usage } = await answer(call);
      finish(usage);
      return c.json(body);
    }
    const stream = chunks(call, request.stream_options?.include_usage ?? false);
    // What a request does wrong shows before its first token: it is answered with its status, not inside a stream.
    const opening = await stream.next();
    return eventStream(opening, stream, { gone, finish, metrics, hidden });
  } catch (error) {
    finish(null);
    if (gone.signal.aborted || c.req.raw.signal.aborted) return new Response(null, { status: 499 });
    throw error;
  }
}

/** Null when the request has no tools, or nobody knows how the model calls them: it answers in text then. */
function toolUse(request: CompletionRequest | ChatRequest, format: ToolFormat | null): ToolUse | null {
  if (!("messages" in request) || request.tool_choice === "none") return null;
  const demanded = demandedTools(request);
  if (demanded) return demandedUse(demanded.map((tool) => tool.function));
  if (format === null) return null;
  const names = new Set(request.tools?.map((tool) => tool.function.name));
  return names.size === 0 ? null : { format, names, most: request.parallel_tool_calls === false ? 1 : Infinity };
}
