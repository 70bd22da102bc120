/** Messages → prompt, by the model's own chat template. */

import { type ChatMessage, type ChatRequest, chatTemplateOf } from "../data/chat-template.ts";
import { withParsedArguments } from "../data/conversation.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError } from "../errors.ts";

export type { ChatMessage, ChatRequest } from "../data/chat-template.ts";

/**
 * The prompt, up to where the assistant's answer begins. It holds its special tokens: none are to be added. Arguments of
 * earlier tool calls may be objects or JSON text. Throws DataError for messages that the template refuses.
 */
export function renderChat(tokenizer: Tokenizer, folder: string, request: ChatRequest): string {
  const template = chatTemplateOf(tokenizer, folder);
  const render = (messages: readonly ChatMessage[]): string =>
    template.render({ ...request, messages }, { addGenerationPrompt: true }).text;
  const parsed = request.messages.map((message, i) => withParsedArguments(message, `message ${i + 1}`));
  try {
    return render(parsed.map(({ message }) => message));
  } catch (error) {
    if (!parsed.some(({ textArguments }) => textArguments)) throw error;
    try {
      return render(request.messages); // some templates join arguments to text
    } catch {
      throw error;
    }
  }
}

/** Messages of a JSON value: a list of them, or an object with `messages` and perhaps `tools`. Throws DataError. */
export function parseChat(value: unknown, where: string): ChatRequest {
  const { messages, tools } = (Array.isArray(value) ? { messages: value } : (value ?? {})) as Record<string, unknown>;
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new DataError(`${where}: needed a list of messages, or an object with "messages".`);
  }
  messages.forEach((message: unknown, i) => {
    const role = (message as { role?: unknown } | null)?.role;
    if (typeof role !== "string") {
      throw new DataError(
        `${where}: message ${i + 1} is ${JSON.stringify(message)}, needed {"role": …, "content": …}.`,
      );
    }
  });
  if (tools !== undefined && !Array.isArray(tools)) throw new DataError(`${where}: tools is no list.`);
  return { messages: messages as ChatMessage[], ...(tools === undefined ? {} : { tools: tools as unknown[] }) };
}
