/** A call of the AI SDK as a request of the library; what it cannot do becomes a warning, or an error where it would change the answer. */

import {
  type LanguageModelV3CallOptions,
  type LanguageModelV3Message,
  type SharedV3Warning,
  UnsupportedFunctionalityError,
} from "@ai-sdk/provider";
import { z } from "zod";
import { UsageError } from "../errors.ts";
import type { ChatMessage } from "../generate/chat.ts";
import type { CompletionOptions, Prompt } from "../generate/generate.ts";

/** "chat": messages through the model's template. "completion": one text that is gone on with. */
export type Kind = "chat" | "completion";

export interface Call {
  readonly prompt: Prompt;
  readonly options: CompletionOptions;
  readonly warnings: SharedV3Warning[];
}

/** What `providerOptions.lowrank` may hold: sampling that the SDK has no names for. */
const ownOptions = z.strictObject({
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
  ignoreEnd: z.boolean().optional(),
});

/** Throws UnsupportedFunctionalityError for parts of a prompt that no text model reads, UsageError for options unknown. */
export function callOf(given: LanguageModelV3CallOptions, kind: Kind): Call {
  const { maxOutputTokens, temperature, topP, topK, presencePenalty, frequencyPenalty, seed, stopSequences } = given;
  const own = ownOptions.safeParse(given.providerOptions?.["lowrank"] ?? {});
  if (!own.success) throw new UsageError(`providerOptions.lowrank: ${z.prettifyError(own.error)}`);
  const options = {
    maxTokens: maxOutputTokens,
    temperature,
    topP,
    topK,
    presencePenalty,
    frequencyPenalty,
    seed,
    stop: stopSequences,
    ...own.data,
  };
  return {
    prompt: kind === "chat" ? { messages: given.prompt.map(chatMessage) } : { prompt: onlyText(given.prompt) },
    options: Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    warnings: warningsOf(given),
  };
}

function warningsOf({ tools = [], responseFormat }: LanguageModelV3CallOptions): SharedV3Warning[] {
  const warnings: SharedV3Warning[] = [];
  if (tools.length > 0) {
    const details = "The model is not told of them. Describe them in a message, and read what it answers.";
    warnings.push({ type: "unsupported", feature: "tools", details });
  }
  if (responseFormat?.type === "json") {
    const details = "Nothing holds the model to JSON. Ask for it in a message, and check what comes.";
    warnings.push({ type: "unsupported", feature: "responseFormat", details });
  }
  return warnings;
}

function chatMessage(message: LanguageModelV3Message): ChatMessage {
  const { role, content } = message;
  return { role, content: typeof content === "string" ? content : textOf(role, content) };
}

/** The text of a message's parts. An earlier answer's reasoning is no part of what templates take. */
function textOf(role: string, parts: readonly { readonly type: string; readonly text?: string }[]): string {
  return parts
    .map(({ type, text = "" }) => {
      if (type === "text") return text;
      if (type === "reasoning") return "";
      throw new UnsupportedFunctionalityError({
        functionality: `a part of type ${type} in a message of role ${role}: this model reads text only`,
      });
    })
    .join("");
}

function onlyText(prompt: LanguageModelV3CallOptions["prompt"]): string {
  const [message, ...more] = prompt;
  if (message?.role === "user" && more.length === 0) return textOf("user", message.content);
  throw new UnsupportedFunctionalityError({
    functionality: `${prompt.length} messages, system or not: a completion goes on from one text. Give a prompt alone, or use a chat model`,
  });
}
