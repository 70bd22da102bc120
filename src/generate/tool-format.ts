/**
 * How families of models write calls of tools, told from their chat templates.
 *
 * Sources: NousResearch's Hermes function calling (Qwen 2.5 and 3, SmolLM3 write the same); Meta's model cards of
 * Llama 3.1 to 3.3; Mistral's `mistral-common` (an array of calls, or name by name from tokenizer v11 on).
 */

import { randomBytes } from "node:crypto";
import { type JsonReader, jsonReader } from "../files/json.ts";

export type ToolFormat = "hermes" | "llama" | "mistral";

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** A JSON object, as the model wrote it. */
  readonly arguments: string;
}

/** Null when the template shows none of the formats: what such a model writes stays text. */
export function toolFormatOf(template: string | null): ToolFormat | null {
  if (template === null) return null;
  if (template.includes("[TOOL_CALLS]")) return "mistral";
  // Qwen3-Coder and GLM write XML between the same tags.
  if (template.includes("<tool_call>")) return /<function=|<arg_key>/.test(template) ? null : "hermes";
  if (template.includes("<|python_tag|>") || template.includes('{"name": function name, "parameters"')) return "llama";
  return null;
}

/** Texts of the tokens that the format is told by. Some are special ones, which texts hide. */
export const TOOL_MARKS: Readonly<Record<ToolFormat, readonly string[]>> = {
  hermes: ["<tool_call>", "</tool_call>"],
  llama: ["<|python_tag|>"],
  mistral: ["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
};

/** The calls of what stands between a format's marks; null when it is not wholly calls of the `known` tools. */
export function readToolCalls(format: ToolFormat, block: string, known: ReadonlySet<string>): ToolCall[] | null {
  try {
    const calls = READERS[format](block.trim());
    return calls.length > 0 && calls.every(({ name }) => known.has(name)) ? calls : null;
  } catch (error) {
    if (error instanceof NoCall) return null;
    throw error;
  }
}

class NoCall extends Error {}

function fail(problem: string): never {
  throw new NoCall(problem);
}

const READERS: Readonly<Record<ToolFormat, (block: string) => ToolCall[]>> = {
  hermes(block) {
    const reader = jsonReader(block, fail);
    const call = callObject(reader);
    reader.end();
    return [call];
  },
  /** Objects one after the other, with semicolons between them. */
  llama(block) {
    const calls: ToolCall[] = [];
    for (let rest = block; rest !== ""; ) {
      const reader = jsonReader(rest, fail);
      calls.push(callObject(reader));
      rest = rest.slice(reader.at).replace(/^[\s;]+/, "");
    }
    return calls;
  },
  mistral(block) {
    const calls: ToolCall[] = [];
    if (block.startsWith("[")) {
      const reader = jsonReader(block, fail);
      reader.array(() => calls.push({ ...callObject(reader), id: mistralId() }));
      reader.end();
      return calls;
    }
    for (const part of block.split("[TOOL_CALLS]")) {
      const [, name = "", written = ""] = /^\s*([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(\{.*)$/s.exec(part) ?? [];
      const reader = jsonReader(written, fail);
      calls.push({ id: mistralId(), name, arguments: objectText(reader) });
      reader.end();
    }
    return calls;
  },
};

/** {"name", "arguments"}; Llama says "parameters". */
function callObject(reader: JsonReader): ToolCall {
  let name: string | null = null;
  let given: string | null = null;
  reader.object((key) => {
    if (key === "name") name = reader.string();
    else if (key === "arguments" || key === "parameters") given = objectText(reader);
    else reader.skip();
  });
  if (name === null) fail("no name");
  return { id: `call_${randomBytes(12).toString("hex")}`, name: name ?? "", arguments: given ?? "{}" };
}

/** An object as written: numbers keep their digits. Some models put it into a string. */
function objectText(reader: JsonReader): string {
  if (reader.kind() === "object") return reader.raw();
  const text = reader.string();
  const inner = jsonReader(text, fail);
  if (inner.kind() !== "object") fail("no object");
  inner.skip();
  inner.end();
  return text;
}

/** Mistral's templates take back only ids of nine letters and digits. */
function mistralId(): string {
  return randomBytes(9).toString("hex").slice(0, 9);
}
