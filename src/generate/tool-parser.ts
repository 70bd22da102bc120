/**
 * Calls of tools out of a completion's text as it comes. A call leaves when it is whole; what does not hold to the
 * format, or names no tool of the request, stays text.
 */

import { openEnd } from "./stop.ts";
import { readToolCalls, type ToolCall, type ToolFormat } from "./tool-format.ts";

export interface ToolText {
  readonly text: string;
  readonly calls: readonly ToolCall[];
}

export interface ToolParser {
  push(text: string): ToolText;
  /** What was held back when the text ended. */
  end(): ToolText;
}

/** The tools of a request to a model that can call them. */
export interface ToolUse {
  readonly format: ToolFormat;
  readonly names: ReadonlySet<string>;
  /** Calls that the caller takes; what comes behind them is left out. */
  readonly most: number;
}

/** A parser of one completion's text for the tools of its request. */
export function toolReader({ format, names, most }: ToolUse): ToolParser {
  const { push, end } = toolParser(format, names);
  let left = most;
  const taken = ({ text, calls }: ToolText): ToolText => {
    const kept = { text: left > 0 ? text : "", calls: calls.slice(0, left) };
    left -= kept.calls.length;
    return kept;
  };
  return { push: (text) => taken(push(text)), end: () => taken(end()) };
}

/** Marks before and after calls; without one after them, they reach to the end of the text. */
const BETWEEN: Readonly<Record<ToolFormat, readonly [open: string, close: string | null]>> = {
  hermes: ["<tool_call>", "</tool_call>"],
  llama: ["<|python_tag|>", null],
  mistral: ["[TOOL_CALLS]", null],
};

/** `known`: names of the request's tools. */
export function toolParser(format: ToolFormat, known: ReadonlySet<string>): ToolParser {
  const [open, close] = BETWEEN[format];
  let held = ""; // text not decided about
  let opened: string | null = null; // what stood before the block that `held` is part of: white space and its mark
  let begun = false; // some text has left
  let called = false;

  const take = (length: number): string => {
    const text = held.slice(0, length);
    held = held.slice(length);
    return text;
  };

  const opening = (): { readonly at: number; readonly length: number } | null => {
    const at = held.indexOf(open);
    if (at >= 0) return { at, length: open.length };
    // Llama's mark may be missing where the whole answer is a call.
    return format === "llama" && !begun && !called && /^\s*\{/.test(held) ? { at: 0, length: 0 } : null;
  };

  /** A block to its end: its calls, or all of it as text. */
  const closed = (length: number, mark: string): ToolText => {
    const block = take(length);
    take(mark.length);
    const before = opened!;
    opened = null;
    const calls = readToolCalls(format, block, known);
    if (calls === null) return { text: before + block + mark, calls: [] };
    called = true;
    return { text: "", calls };
  };

  const decide = (): ToolText | null => {
    if (opened !== null) {
      const at = close === null ? -1 : held.indexOf(close);
      return at < 0 ? null : closed(at, close!);
    }
    const found = opening();
    if (!found) return null;
    const text = take(found.at);
    const kept = text.trimEnd();
    opened = text.slice(kept.length) + take(found.length);
    return { text: kept, calls: [] };
  };

  /** Everything that is decided, and what `last` finds at the end of it. */
  const decided = (last: () => ToolText): ToolText => {
    const calls: ToolCall[] = [];
    let text = "";
    const add = (next: ToolText): void => {
      text += next.text;
      calls.push(...next.calls);
      if (next.text !== "") begun = true;
    };
    for (let next = decide(); next; next = decide()) add(next);
    add(last());
    return { text, calls };
  };

  return {
    push(given) {
      held += given;
      return decided(() => {
        if (opened !== null) return { text: "", calls: [] };
        // What may be the beginning of a mark waits, and the white space before it, which calls take away.
        const sure = held.slice(0, held.length - openEnd(held, [open]));
        return { text: take(sure.trimEnd().length), calls: [] };
      });
    },
    end: () =>
      decided(() => {
        if (opened !== null) return closed(held.length, "");
        const rest = take(held.length);
        return { text: called && rest.trim() === "" ? "" : rest, calls: [] };
      }),
  };
}
