/**
 * Messages → text, by the checkpoint's own chat template: one renderer for training and for generation.
 *
 * Source: transformers `utils/chat_template_utils.py` and `apply_chat_template`, whose Jinja settings (trim_blocks,
 * lstrip_blocks), variables and `{% generation %}` spans are followed. `@huggingface/jinja` drops that tag in its lexer, so
 * it is rewritten here into marks that are taken out of the text again.
 */

import { parse, Template, tokenize } from "@huggingface/jinja";
import { DataError, ModelError, messageOf } from "../errors.ts";
import { type JsonObject, snippet } from "./json-values.ts";
import { tokenText } from "./special-tokens.ts";

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

/** From a character of a text, to before another one. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Rendered {
  readonly text: string;
  /** What stands between `{% generation %}` and `{% endgeneration %}`, in order. */
  readonly generated: readonly Span[];
}

export interface ChatTemplate {
  /** Whether the template says itself what the model generates. */
  readonly marksGeneration: boolean;
  /** The text with its special tokens: none are to be added. Throws DataError when the template refuses the messages. */
  render(request: ChatRequest, options: { readonly addGenerationPrompt: boolean }): Rendered;
}

/** What of a tokenizer a template needs. */
export interface TemplateSource {
  /** Jinja source, or null. */
  readonly chatTemplate: string | null;
  /** `tokenizer_config.json`, for the texts of special tokens. */
  readonly config: JsonObject;
}

// Unicode noncharacters: no text that is exchanged holds them.
const OPEN = "\uFDD0";
const CLOSE = "\uFDD1";
const SPECIALS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/** Compiles the template. `folder` is named in messages. Throws ModelError when there is none or it cannot be read. */
export function chatTemplateOf({ chatTemplate, config }: TemplateSource, folder: string): ChatTemplate {
  if (chatTemplate === null) {
    throw new ModelError(
      `${folder}: no chat template, so this is no chat model. Give it a prompt instead of messages, or add chat_template.jinja.`,
    );
  }
  const marksGeneration = /\{%[-+]?\s*generation\s*-?%\}/.test(chatTemplate);
  const template = compiled(chatTemplate, folder);
  const tokens = Object.fromEntries(
    SPECIALS.flatMap((name) => {
      const text = tokenText(config[name]);
      return text === null ? [] : [[name, text] as const];
    }),
  );
  return {
    marksGeneration,
    render({ messages, tools, variables }, { addGenerationPrompt }) {
      try {
        const text = template.render({
          ...tokens,
          ...variables,
          messages: messages.map(withoutNulls),
          tools: tools ?? null,
          documents: null,
          add_generation_prompt: addGenerationPrompt,
        });
        return marksGeneration ? withoutMarks(text) : { text, generated: [] };
      } catch (error) {
        throw new DataError(`The model's chat template refuses these messages: ${messageOf(error)}`);
      }
    },
  };
}

/** As transformers: templates print a null as "None", and cope with an absent field. */
function withoutNulls(message: ChatMessage): ChatMessage {
  return Object.fromEntries(
    Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
  ) as unknown as ChatMessage;
}

function compiled(source: string, folder: string): Template {
  try {
    const template = new Template("");
    template.parsed = parse(tokenize(marked(blockTrimmed(source))));
    return template;
  } catch (error) {
    throw new ModelError(
      `${folder}: its chat template cannot be read (${messageOf(error)}): ${snippet(source)}. Check chat_template.jinja, or the chat_template of tokenizer_config.json.`,
    );
  }
}

/** lstrip_blocks and trim_blocks, as the package does them: here, so that they see the generation tags, too. */
function blockTrimmed(source: string): string {
  const text = source.endsWith("\n") ? source.slice(0, -1) : source;
  const trimmed = text.replace(/^[ \t]*(\{[#%-])/gm, "$1").replace(/([#%-]\})\n/g, "$1");
  return `${trimmed}\n`; // the package takes one newline from the end
}

/** Each generation tag as an expression that prints a mark, with the tag's own signs for cutting white space. */
function marked(source: string): string {
  return source.replace(
    /\{%(-?)\+?\s*(end)?generation\s*(-?)%\}/g,
    (_, before: string, end: string | undefined, after: string) =>
      `{{${before} "${end === undefined ? OPEN : CLOSE}" ${after}}}`,
  );
}

function withoutMarks(text: string): Rendered {
  const generated: Span[] = [];
  let plain = "";
  let start: number | null = null;
  for (const part of text.split(/([\uFDD0\uFDD1])/)) {
    if (part === OPEN && start === null) start = plain.length;
    else if (part === CLOSE && start !== null) {
      generated.push({ start, end: plain.length });
      start = null;
    } else if (part === OPEN || part === CLOSE) {
      throw new DataError("its generation tags do not come in pairs, or a message holds U+FDD0 or U+FDD1");
    } else plain += part;
  }
  if (start !== null) throw new DataError("a {% generation %} tag has no end in the rendered text");
  return { text: plain, generated };
}
