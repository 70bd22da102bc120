/** A call of the AI SDK as a request of the library; what it cannot do becomes a warning, or an error where it would change the answer. */

import type { LanguageModelV3CallOptions, SharedV3Warning } from "@ai-sdk/provider";
import { z } from "zod";
import { UsageError } from "../errors.ts";
import type { CompletionOptions, Prompt } from "../generate/generate.ts";
import type { ToolFormat } from "../generate/tool-format.ts";
import type { ToolUse } from "../generate/tool-parser.ts";
import { chatMessages, onlyText } from "./messages.ts";
import { planTools } from "./tools.ts";

/** "chat": messages through the model's template. "completion": one text that is gone on with. */
export type Kind = "chat" | "completion";

export interface Call {
  readonly prompt: Prompt;
  readonly options: CompletionOptions;
  /** Null: what the model writes is text. */
  readonly tools: ToolUse | null;
  readonly warnings: readonly SharedV3Warning[];
}

/** What `providerOptions.lowrank` may hold: sampling that the SDK has no names for. */
const ownOptions = z.strictObject({
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
  ignoreEnd: z.boolean().optional(),
});

/** Throws UnsupportedFunctionalityError for parts of a prompt that no text model reads, UsageError for options unknown. */
export function callOf(given: LanguageModelV3CallOptions, kind: Kind, format: ToolFormat | null): Call {
  const { maxOutputTokens, temperature, topP, topK, presencePenalty, frequencyPenalty, seed, stopSequences } = given;
  const own = ownOptions.safeParse(given.providerOptions?.["lowrank"] ?? {});
  if (!own.success) throw new UsageError(`providerOptions.lowrank: ${z.prettifyError(own.error)}`);
  const chat = kind === "chat";
  // Nothing tells a model of tools without a template.
  const { tools, use, warnings, options: held } = planTools(given, chat ? format : null);
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
    ...held,
  };
  return {
    prompt: chat
      ? { messages: chatMessages(given.prompt), ...(tools.length > 0 ? { tools } : {}) }
      : { prompt: onlyText(given.prompt) },
    options: Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    tools: use,
    warnings,
  };
}
