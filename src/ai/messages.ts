/** Messages of the AI SDK as chat templates read them: text, calls of tools, and what the tools answered. */

import {
  type LanguageModelV3CallOptions,
  type LanguageModelV3Message,
  type LanguageModelV3ToolCallPart,
  type LanguageModelV3ToolResultPart,
  UnsupportedFunctionalityError,
} from "@ai-sdk/provider";
import type { ChatMessage } from "../generate/chat.ts";

/** Throws UnsupportedFunctionalityError for parts that no text model reads. */
export function chatMessages(prompt: readonly LanguageModelV3Message[]): ChatMessage[] {
  return prompt.flatMap((message): ChatMessage[] => {
    const { role, content } = message;
    if (role === "system") return [{ role, content }];
    if (role === "user") return [{ role, content: textOf(role, content) }];
    if (role === "tool") return content.map(resultMessage);
    const calls = content.filter((part) => part.type === "tool-call");
    const text = textOf(
      role,
      content.filter((part) => part.type !== "tool-call"),
    );
    return [{ role, content: text, ...(calls.length > 0 ? { tool_calls: calls.map(callPart) } : {}) }];
  });
}

/** The one text that a completion goes on from. */
export function onlyText(prompt: LanguageModelV3CallOptions["prompt"]): string {
  const [message, ...more] = prompt;
  if (message?.role === "user" && more.length === 0) return textOf("user", message.content);
  throw new UnsupportedFunctionalityError({
    functionality: `${prompt.length} messages, system or not: a completion goes on from one text. Give a prompt alone, or use a chat model`,
  });
}

function callPart({ toolCallId, toolName, input }: LanguageModelV3ToolCallPart): object {
  return { id: toolCallId, type: "function", function: { name: toolName, arguments: input } };
}

type ToolPart = Extract<LanguageModelV3Message, { role: "tool" }>["content"][number];

function resultMessage(part: ToolPart): ChatMessage {
  if (part.type !== "tool-result") refuse(part.type, "tool");
  return { role: "tool", tool_call_id: part.toolCallId, name: part.toolName, content: outputText(part) };
}

function outputText({ output }: LanguageModelV3ToolResultPart): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "The call was denied.";
    case "content":
      return textOf("tool", output.value);
  }
}

/** The text of a message's parts. An earlier answer's reasoning is no part of what templates take. */
function textOf(role: string, parts: readonly { readonly type: string; readonly text?: string }[]): string {
  return parts
    .map(({ type, text = "" }) => {
      if (type === "text") return text;
      return type === "reasoning" ? "" : refuse(type, role);
    })
    .join("");
}

function refuse(type: string, role: string): never {
  throw new UnsupportedFunctionalityError({
    functionality: `a part of type ${type} in a message of role ${role}: this model reads text only`,
  });
}
