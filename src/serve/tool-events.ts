/** Calls of tools among the pieces of completions: what the model wrote as a call is no text of its answer. */

import type { ToolCall, ToolFormat } from "../generate/tool-format.ts";
import { type ToolParser, type ToolText, toolParser } from "../generate/tool-parser.ts";
import type { ServedCompletion, ServedPiece } from "./protocol.ts";

/** The tools of a request to a model that can call them. */
export interface ToolUse {
  readonly format: ToolFormat;
  readonly names: ReadonlySet<string>;
  /** Calls that the client takes; what comes behind them is left out. */
  readonly most: number;
}

/** Something that one of the choices did. */
export interface ChoiceEvent {
  readonly index: number;
  readonly piece?: ServedPiece & { readonly calls?: readonly ToolCall[] };
  readonly completion?: ServedCompletion;
}

export async function* withToolCalls(events: AsyncIterable<ChoiceEvent>, use: ToolUse): AsyncGenerator<ChoiceEvent> {
  const choices = new Map<number, { readonly parser: ToolParser; left: number }>();
  for await (const event of events) {
    const { index, piece, completion } = event;
    const choice = choices.get(index) ?? { parser: toolParser(use.format, use.names), left: use.most };
    choices.set(index, choice);
    const taken = ({ text, calls }: ToolText): ToolText => {
      const kept = { text: choice.left > 0 ? text : "", calls: calls.slice(0, choice.left) };
      choice.left -= kept.calls.length;
      return kept;
    };
    if (piece) yield { index, piece: { ...piece, ...taken(choice.parser.push(piece.text)) } };
    if (completion) {
      const rest = taken(choice.parser.end());
      if (rest.text !== "" || rest.calls.length > 0) yield { index, piece: { tokens: 0, ...rest } };
      yield event;
    }
  }
}
