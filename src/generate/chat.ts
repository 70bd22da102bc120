/** Messages → prompt, by the model's own chat template. */

import { Template } from "@huggingface/jinja";
import type { Tokenizer } from "../data/tokenizer.ts";
import { tokenText } from "../data/tokenizer-files.ts";
import { DataError, ModelError, messageOf } from "../errors.ts";

/** A message as chat templates read it; further fields (tool calls, names) are handed on as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

export interface ChatRequest {
  readonly messages: readonly ChatMessage[];
  /** JSON schemas of functions that the model may call. */
  readonly tools?: readonly unknown[];
  /** Variables that some templates know: `enable_thinking` and the like. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** The prompt, up to where the assistant's answer begins. It holds its special tokens: none are to be added. */
export function renderChat(tokenizer: Tokenizer, folder: string, { messages, tools, variables }: ChatRequest): string {
  if (tokenizer.chatTemplate === null) {
    throw new ModelError(
      `${folder}: no chat template, so this is no chat model. Give it a prompt instead of messages, or add chat_template.jinja.`,
    );
  }
  const specials = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
  const tokens = specials.flatMap((name) => {
    const text = tokenText(tokenizer.config[name]);
    return text === null ? [] : [[name, text] as const];
  });
  try {
    return new Template(tokenizer.chatTemplate).render({
      ...Object.fromEntries(tokens),
      ...variables,
      messages,
      tools: tools ?? null,
      documents: null,
      add_generation_prompt: true,
    });
  } catch (error) {
    throw new DataError(`The model's chat template refuses these messages: ${messageOf(error)}`);
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
