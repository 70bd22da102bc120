/** Calls of tools among the pieces of completions: what the model wrote as a call is no text of its answer. */

import type { ToolCall } from "../generate/tool-format.ts";
import { type ToolParser, type ToolUse, toolReader } from "../generate/tool-parser.ts";
import type { ServedCompletion, ServedPiece } from "./protocol.ts";

/** Something that one of the choices did. */
export interface ChoiceEvent {
  readonly index: number;
  readonly piece?: ServedPiece & { readonly calls?: readonly ToolCall[] };
  readonly completion?: ServedCompletion;
}

export async function* withToolCalls(events: AsyncIterable<ChoiceEvent>, use: ToolUse): AsyncGenerator<ChoiceEvent> {
  const readers = new Map<number, ToolParser>();
  for await (const event of events) {
    const { index, piece, completion } = event;
    const reader = readers.get(index) ?? toolReader(use);
    readers.set(index, reader);
    if (piece) yield { index, piece: { ...piece, ...reader.push(piece.text) } };
    if (completion) {
      const rest = reader.end();
      if (rest.text !== "" || rest.calls.length > 0) yield { index, piece: { tokens: 0, ...rest } };
      yield event;
    }
  }
}
