/**
 * A conversation as ids and targets: the whole is rendered and tokenized once, and what the assistant said is found in it
 * exactly, or the row is refused.
 *
 * With `{% generation %}` in the template the spans are the template's, and ids and mask those of transformers
 * (`return_assistant_tokens_mask`). Else a turn begins where the prompt for it ends (the text that generation starts from)
 * and ends where the conversation up to it ends, each checked to be a beginning of the whole; else marks in the turn's
 * content tell where it stands, checked to change nothing else. A token across a prompt's end is no target, as generation
 * could not produce it, nor is white space behind a turn's end token.
 */

import { DataError, messageOf } from "../errors.ts";
import type { ChatMessage, ChatTemplate, Span } from "./chat-template.ts";
import { type Conversation, withTextArguments } from "./conversation.ts";
import { IGNORED } from "./example.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ChatTokens {
  readonly ids: Int32Array;
  /** {@link IGNORED} where there is no target, [T]. */
  readonly labels: Int32Array;
}

/** Throws a DataError that begins with `where` when the template refuses the row or a turn cannot be found exactly. */
export function chatTokens(
  conversation: Conversation,
  template: ChatTemplate,
  tokenizer: Tokenizer,
  options: { readonly maskPrompt: boolean; readonly where: string },
): ChatTokens {
  const { where } = options;
  const chat = rendered(conversation, template, where);
  const ids = tokenizer.encode(chat.text, { special: false });
  const locate = locator(chat.text, ids, tokenizer, where);
  const labels = options.maskPrompt ? new Int32Array(ids.length).fill(IGNORED) : ids.slice();
  const keep = ([first, last]: TokenRange): void => labels.set(ids.subarray(first, last), first);

  if (!options.maskPrompt) {
    const silent = conversation.messages.flatMap(({ role }, i) =>
      role === "assistant" && !conversation.trained.includes(i) && i >= (conversation.promptLength ?? 0) ? [i] : [],
    );
    for (const [first, last] of turnRanges(silent, chat, conversation, template, locate, where, tokenizer)) {
      labels.fill(IGNORED, first, last);
    }
  } else if (conversation.promptLength !== undefined && onlyAnswers(conversation)) {
    // TRL: everything behind the prompt.
    const prompt = chat.render(conversation.promptLength, true);
    if (prompt === null || !chat.text.startsWith(prompt)) throw notPrefix(conversation.promptLength, prompt, where);
    keep(locate({ start: prompt.length, end: chat.text.length }, "inside"));
  } else {
    for (const range of turnRanges(conversation.trained, chat, conversation, template, locate, where, tokenizer)) {
      keep(range);
    }
  }
  return { ids, labels };
}

/** First token, and behind the last. */
type TokenRange = readonly [number, number];
type Locate = (span: Span, edge: "overlapping" | "inside") => TokenRange;

interface WholeChat {
  readonly text: string;
  readonly generated: readonly Span[];
  /** The text of the first `count` messages; null when the template refuses so few. */
  render(count: number, addGenerationPrompt: boolean): string | null;
  /** The text with one message replaced; null when refused. */
  replaced(index: number, message: ChatMessage): string | null;
}

function rendered(conversation: Conversation, template: ChatTemplate, where: string): WholeChat {
  const { tools, variables } = conversation;
  const more = { ...(tools === undefined ? {} : { tools }), ...(variables === undefined ? {} : { variables }) };
  const of = (messages: readonly ChatMessage[], addGenerationPrompt = false) =>
    template.render({ messages, ...more }, { addGenerationPrompt });
  const attempt = (make: () => string): string | null => {
    try {
      return make();
    } catch {
      return null;
    }
  };
  const chatOf = (messages: readonly ChatMessage[]): WholeChat => ({
    ...of(messages),
    render: (count, prompt) => attempt(() => of(messages.slice(0, count), prompt).text),
    replaced: (index, message) => attempt(() => of(messages.with(index, message)).text),
  });
  try {
    return chatOf(conversation.messages);
  } catch (error) {
    if (conversation.textArguments) {
      try {
        return chatOf(withTextArguments(conversation)); // some templates join arguments to text
      } catch {
        // the first reason is the better one
      }
    }
    throw new DataError(`${where}: ${messageOf(error)}`);
  }
}

function onlyAnswers({ messages, promptLength = 0 }: Conversation): boolean {
  return messages.slice(promptLength).every(({ role }) => role === "assistant");
}

function turnRanges(
  turns: readonly number[],
  chat: WholeChat,
  conversation: Conversation,
  template: ChatTemplate,
  locate: Locate,
  where: string,
  tokenizer: Tokenizer,
): TokenRange[] {
  if (template.marksGeneration) {
    return generatedSpans(turns, chat, conversation, where).map((span) => locate(span, "overlapping"));
  }
  const ids = tokenizer.encode(chat.text, { special: false });
  return turns.map((turn) => {
    const span = prefixSpan(turn, chat);
    if (span !== null) return trimmedBehindEnd(locate(span, "inside"), ids, tokenizer);
    const marked = markedSpan(turn, chat, conversation.messages[turn]!);
    if (marked === null) throw notExact(turn, chat, conversation, where);
    return grownToEnd(locate(marked, "overlapping"), ids, tokenizer);
  });
}

/** The template's spans that belong to these turns. */
function generatedSpans(
  turns: readonly number[],
  { generated }: WholeChat,
  { messages }: Conversation,
  where: string,
): readonly Span[] {
  const answers = messages.flatMap(({ role }, i) => (role === "assistant" ? [i] : []));
  if (generated.length === 0) {
    throw new DataError(
      `${where}: the chat template marks nothing of this row as generated, so it has no target. Correct its {% generation %} tags.`,
    );
  }
  if (turns.length === answers.length) return generated;
  if (generated.length !== answers.length) {
    throw new DataError(
      `${where}: the chat template marks ${generated.length} generated parts for ${answers.length} assistant messages, ` +
        `so it is unsure which belongs to the one of weight 0. Remove the weights, or the {% generation %} tags.`,
    );
  }
  return generated.filter((_, i) => turns.includes(answers[i]!));
}

function prefixSpan(turn: number, chat: WholeChat): Span | null {
  const prompt = chat.render(turn, true);
  const through = chat.render(turn + 1, false);
  if (prompt === null || through === null || prompt.length >= through.length) return null;
  if (!chat.text.startsWith(prompt) || !chat.text.startsWith(through)) return null;
  return { start: prompt.length, end: through.length };
}

// Unicode noncharacters, as in chat-template.ts.
const [OPEN, CLOSE] = ["\uFDD2", "\uFDD3"];

function markedSpan(turn: number, chat: WholeChat, message: ChatMessage): Span | null {
  const { content } = message;
  if (typeof content !== "string" || content.trim() === "" || message["tool_calls"] !== undefined) return null;
  const core = content.trim();
  // The second one for templates that trim.
  for (const marks of [OPEN + content + CLOSE, content.replace(core, () => OPEN + core + CLOSE)]) {
    const parts = chat.replaced(turn, { ...message, content: marks })?.split(/[\uFDD2\uFDD3]/) ?? [];
    if (parts.length !== 3 || parts.join("") !== chat.text) continue;
    const start = parts[0]!.length;
    return { start, end: start + parts[1]!.length };
  }
  return null;
}

/** Without the white space behind the token that ends the turn: generation has stopped before it. */
function trimmedBehindEnd([first, last]: TokenRange, ids: Int32Array, tokenizer: Tokenizer): TokenRange {
  let at = last - 1;
  while (at > first && isBlank(ids[at]!, tokenizer)) at--;
  return at >= first && tokenizer.specialIds.has(ids[at]!) ? [first, at + 1] : [first, last];
}

/** With the token that ends the turn, when it is the next one but for white space. */
function grownToEnd([first, last]: TokenRange, ids: Int32Array, tokenizer: Tokenizer): TokenRange {
  let at = last;
  while (at < ids.length && isBlank(ids[at]!, tokenizer)) at++;
  return at < ids.length && tokenizer.specialIds.has(ids[at]!) ? [first, at + 1] : [first, last];
}

function isBlank(id: number, tokenizer: Tokenizer): boolean {
  return !tokenizer.specialIds.has(id) && tokenizer.decode([id], { skipSpecial: false }).trim() === "";
}

/** From spans of characters to tokens. */
function locator(text: string, ids: Int32Array, tokenizer: Tokenizer, where: string): Locate {
  const offsets = tokenizer.offsets(text, ids);
  if (offsets === null) {
    // The tokenizer changes the text: only clean cuts can be told, where the text before them gives the first tokens.
    const cut = (at: number): number => {
      const before = tokenizer.encode(text.slice(0, at), { special: false });
      if (before.every((id, i) => id === ids[i])) return before.length;
      throw new DataError(
        `${where}: the beginning or end of an assistant message falls into a token, and this tokenizer changes its text ` +
          `so that the place cannot be told. Put a line break before the answers in the template, or use rows of segments.`,
      );
    };
    return ({ start, end }) => [cut(start), cut(end)];
  }
  const byteAt = (at: number): number => Buffer.byteLength(text.slice(0, at));
  return ({ start, end }, edge) => {
    const [from, to] = [byteAt(start), byteAt(end)];
    let first = offsets.ends.findIndex((last) => last > from);
    if (first === -1 || from >= to) return [0, 0];
    while (edge === "inside" && offsets.starts[first]! < from) first++;
    const behind = offsets.starts.findIndex((begin) => begin >= to);
    return [first, Math.max(first, behind === -1 ? ids.length : behind)];
  };
}

function notPrefix(count: number, prompt: string | null, where: string): DataError {
  const why =
    prompt === null ? "refuses the prompt alone" : "renders the prompt differently when the completion follows";
  return new DataError(
    `${where}: the chat template ${why} (its ${count} messages are no beginning of the whole), so the completion's tokens ` +
      `cannot be told. Use a template with {% generation %} tags, or rows of messages.`,
  );
}

/** Names the true cause, which is the template's. */
function notExact(turn: number, chat: WholeChat, { messages }: Conversation, where: string): DataError {
  const later = messages.length - turn - 1;
  const calls = messages[turn]!["tool_calls"] !== undefined;
  const through = chat.render(turn + 1, false);
  const why =
    through !== null && !chat.text.startsWith(through) && later > 0
      ? `renders it differently when ${later} more message${later === 1 ? " follows" : "s follow"} (it drops reasoning or merges turns)`
      : `gives no prompt that the whole begins with${calls ? ", and a tool call has no text to mark" : ", and changes its text"}`;
  return new DataError(
    `${where}: the tokens of message ${turn + 1} (assistant) cannot be told exactly: the chat template ${why}. ` +
      `Give that message "weight": 0, split the conversation so that it is the last, or add {% generation %} tags to chat_template.jinja.`,
  );
}
