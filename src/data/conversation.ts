/**
 * Conversations in the shapes that people hold: OpenAI's messages, TRL's conversational prompt and completion, ShareGPT,
 * alpaca. All become messages for a chat template, with the turns to train on.
 *
 * Source: OpenAI's fine-tuning format; TRL `trainer/sft_trainer.py`; LLaMA-Factory `data/converter.py` (ShareGPT, alpaca).
 */

import { DataError, messageOf } from "../errors.ts";
import type { ChatMessage } from "./chat-template.ts";
import { isObject, type JsonObject, kindOf } from "./json-values.ts";

export interface Conversation {
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly unknown[];
  readonly variables?: Readonly<Record<string, unknown>>;
  /** Messages that are trained on: assistant turns without weight 0. */
  readonly trained: readonly number[];
  /** How many of the messages are the prompt of a prompt and completion; absent for other shapes. */
  readonly promptLength?: number;
  /** Some tool call's arguments came as text: they are handed on as objects, as templates want them. */
  readonly textArguments: boolean;
}

export type ConversationFormat = "messages" | "conversational-completion" | "sharegpt" | "alpaca";

/** Reads a row. Throws a DataError that begins with `where` and names the message. */
export function readConversation(row: JsonObject, format: ConversationFormat, where: string): Conversation {
  switch (format) {
    case "messages":
      return settled(row, list(row["messages"], "messages", where), {}, where);
    case "conversational-completion": {
      const prompt = turns(row["prompt"], "prompt", "user", where);
      const completion = turns(row["completion"], "completion", "assistant", where);
      return settled(row, [...prompt, ...completion], { promptLength: prompt.length }, where);
    }
    case "sharegpt":
      return settled(row, shareGpt(row, where), {}, where);
    case "alpaca":
      return settled(row, alpaca(row, where), {}, where);
  }
}

/** The same conversation with tool calls' arguments as JSON text, for the templates that join them to text. */
export function withTextArguments({ messages }: Conversation): readonly ChatMessage[] {
  return messages.map((message) =>
    withCalls(message, (call) => ({ ...call, arguments: JSON.stringify(call["arguments"]) })),
  );
}

/** A message with its tool calls' arguments as objects, as templates want them. Throws a DataError that begins with `where`. */
export function withParsedArguments(
  message: ChatMessage,
  where: string,
): { readonly message: ChatMessage; readonly textArguments: boolean } {
  let textArguments = false;
  const parsed = withCalls(message, (call) => {
    if (typeof call["arguments"] !== "string") return call;
    textArguments = true;
    return { ...call, arguments: parsedArguments(call["arguments"], where) };
  });
  return { message: parsed, textArguments };
}

function settled(
  row: JsonObject,
  given: readonly unknown[],
  more: { readonly promptLength?: number },
  where: string,
): Conversation {
  const trained: number[] = [];
  let textArguments = false;
  const messages = given.map((value, i): ChatMessage => {
    const at = `${where}: message ${i + 1}`;
    if (!isObject(value) || typeof value["role"] !== "string") {
      throw new DataError(
        `${at} is ${isObject(value) ? "without a role" : kindOf(value)}, {"role", "content"} is needed.`,
      );
    }
    const { weight, ...message } = value;
    if (weight !== undefined && weight !== null && weight !== 0 && weight !== 1) {
      throw new DataError(`${at} has the weight ${JSON.stringify(weight)}, 0 or 1 is needed.`);
    }
    if (weight !== undefined && weight !== null && value["role"] !== "assistant") {
      throw new DataError(`${at} (${value["role"]}) has a weight, which only assistant messages can have. Remove it.`);
    }
    const isPrompt = i < (more.promptLength ?? 0);
    if (value["role"] === "assistant" && weight !== 0 && !isPrompt) trained.push(i);
    const content = contentText(message["content"], at);
    const whole = { ...message, role: value["role"], ...(content === undefined ? {} : { content }) };
    const parsed = withParsedArguments(whole, at);
    textArguments ||= parsed.textArguments;
    return parsed.message;
  });
  if (trained.length === 0) throw new DataError(`${where}: ${nothingToTrain(messages, more.promptLength ?? 0)}`);
  const tools = toolList(row["tools"], where);
  const variables = row["chat_template_kwargs"];
  if (variables !== undefined && variables !== null && !isObject(variables)) {
    throw new DataError(`${where}: "chat_template_kwargs" is ${kindOf(variables)}, an object is needed.`);
  }
  return {
    messages,
    trained,
    textArguments,
    ...(tools === undefined ? {} : { tools }),
    ...(isObject(variables) ? { variables } : {}),
    ...more,
  };
}

function nothingToTrain(messages: readonly ChatMessage[], promptLength: number): string {
  const answers = messages.slice(promptLength).filter(({ role }) => role === "assistant");
  if (answers.length > 0)
    return 'the row has no target: each assistant message has the weight 0. Give one "weight": 1, or remove the row.';
  const roles = [...new Set(messages.map(({ role }) => role))].join(", ");
  return `the row has no target: no message to train on is the assistant's (found: ${roles || "no message"}). Add an answer with "role": "assistant", or remove the row.`;
}

/** Text of a content: lists of text parts are joined, as text models know no parts. */
function contentText(content: unknown, at: string): unknown {
  if (!Array.isArray(content)) {
    if (content === undefined || content === null || typeof content === "string") return content;
    throw new DataError(`${at} has ${kindOf(content)} for its content, text is needed.`);
  }
  return content
    .map((part: unknown, i) => {
      if (isObject(part) && part["train"] !== undefined) {
        throw new DataError(
          `${at}, part ${i + 1} has "train", which is not read. Use {"segments": [{"label", "text"}]} rows.`,
        );
      }
      if (isObject(part) && typeof part["text"] === "string") return part["text"];
      const type = isObject(part) ? JSON.stringify(part["type"] ?? null) : kindOf(part);
      throw new DataError(`${at}, part ${i + 1} is of the type ${type}, only parts with "text" can be read.`);
    })
    .join("");
}

/** The message with each tool call's function changed; calls without the "function" around them are read, too. */
function withCalls(message: ChatMessage, change: (call: JsonObject) => JsonObject): ChatMessage {
  const calls = message["tool_calls"];
  if (!Array.isArray(calls)) return message;
  const changed = calls.map((call: unknown) => {
    if (!isObject(call)) return call;
    return isObject(call["function"]) ? { ...call, function: change(call["function"]) } : change(call);
  });
  return { ...message, tool_calls: changed };
}

function parsedArguments(text: string, at: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(
      `${at} calls a tool with arguments that are no JSON (${messageOf(error)}): ${text.slice(0, 60)}`,
    );
  }
}

/** Tools as a list of JSON schemas; ShareGPT holds them as text and without OpenAI's wrapping. */
function toolList(value: unknown, where: string): readonly unknown[] | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const tools = typeof value === "string" ? parsedJson(value, `${where}: "tools"`) : value;
  if (!Array.isArray(tools)) throw new DataError(`${where}: "tools" is ${kindOf(tools)}, a list is needed.`);
  if (tools.length === 0) return undefined;
  return tools.map((tool: unknown) =>
    isObject(tool) && tool["function"] === undefined && tool["type"] === undefined
      ? { type: "function", function: tool }
      : tool,
  );
}

const SHAREGPT_ROLES: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  model: "assistant",
  system: "system",
  observation: "tool",
  tool: "tool",
  function_call: "assistant",
};

function shareGpt(row: JsonObject, where: string): unknown[] {
  const messages = list(row["conversations"], "conversations", where).map((turn, i): unknown => {
    const at = `${where}: conversations[${i}]`;
    if (!isObject(turn)) throw new DataError(`${at} is ${kindOf(turn)}, {"from", "value"} is needed.`);
    if (turn["from"] === undefined && turn["role"] !== undefined) return turn; // messages under ShareGPT's name
    const { from, value, ...rest } = turn;
    const role = typeof from === "string" && Object.hasOwn(SHAREGPT_ROLES, from) ? SHAREGPT_ROLES[from]! : undefined;
    if (role === undefined) {
      throw new DataError(
        `${at} is from ${JSON.stringify(from ?? null)}, needed one of ${Object.keys(SHAREGPT_ROLES).join(", ")}.`,
      );
    }
    if (typeof value !== "string") throw new DataError(`${at} has ${kindOf(value)} for its value, text is needed.`);
    if (from !== "function_call") return { ...rest, role, content: value };
    const calls = [parsedJson(value, `${at} (function_call)`)].flat();
    return { ...rest, role, tool_calls: calls.map((call) => ({ type: "function", function: call })) };
  });
  return [...systemTurn(row, messages, where), ...messages];
}

function alpaca(row: JsonObject, where: string): unknown[] {
  const input = text(row, "input", where);
  const question = text(row, "instruction", where) + (input === "" ? "" : `\n${input}`);
  const history = row["history"] ?? [];
  const earlier = list(history === "" ? [] : history, "history", where).flatMap((pair, i): unknown[] => {
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((each) => typeof each === "string")) {
      throw new DataError(`${where}: history[${i}] is ${kindOf(pair)}, [question, answer] is needed.`);
    }
    return [
      { role: "user", content: pair[0] as string },
      { role: "assistant", content: pair[1] as string },
    ];
  });
  return [
    ...systemTurn(row, [], where),
    ...earlier,
    { role: "user", content: question },
    { role: "assistant", content: text(row, "output", where) },
  ];
}

/** The row's own system text, unless the conversation begins with one. */
function systemTurn(row: JsonObject, messages: readonly unknown[], where: string): unknown[] {
  const content = text(row, "system", where);
  const first = messages[0];
  if (content === "" || (isObject(first) && first["role"] === "system")) return [];
  return [{ role: "system", content }];
}

/** One side of TRL's prompt and completion; text is one message. */
function turns(value: unknown, key: string, role: string, where: string): readonly unknown[] {
  return typeof value === "string" ? [{ role, content: value }] : list(value, key, where);
}

function text(row: JsonObject, key: string, where: string): string {
  const value = row[key] ?? "";
  if (typeof value !== "string") throw new DataError(`${where}: "${key}" is ${kindOf(value)}, text is needed.`);
  return value;
}

function list(value: unknown, key: string, where: string): readonly unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  if (Array.isArray(value) && key === "history") return value;
  const found = Array.isArray(value) ? "an empty list" : kindOf(value);
  throw new DataError(`${where}: "${key}" is ${found}, a list of messages is needed.`);
}

function parsedJson(value: string, what: string): unknown {
  try {
    return JSON.parse(value);
  } catch (error) {
    throw new DataError(`${what} is no JSON (${messageOf(error)}): ${value.slice(0, 60)}`);
  }
}
