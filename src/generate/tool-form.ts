/** Tools of which one must be called: the answer is held to a call's JSON, and nothing stands around it. */

import type { TextForm } from "./form.ts";
import type { ToolUse } from "./tool-parser.ts";

/** A tool with the JSON schema of its arguments. */
export interface CallableTool {
  readonly name: string;
  readonly parameters?: unknown;
}

/** A call of one of the tools, as {"name", "arguments"}. */
export function callForm(tools: readonly CallableTool[]): TextForm {
  const definitions: Record<string, unknown> = {};
  const calls = tools.map(({ name, parameters = { type: "object" } }) => {
    const { $defs, ...own } = parameters as { readonly $defs?: object };
    Object.assign(definitions, $defs); // their references are to the root
    const properties = { name: { const: name }, arguments: own };
    return { type: "object", properties, required: ["name", "arguments"], additionalProperties: false };
  });
  return { schema: { anyOf: calls, $defs: definitions } };
}

/** How the answer to `callForm` is read: bare JSON, which Llama's format takes without marks. */
export function demandedUse(tools: readonly CallableTool[]): ToolUse {
  return { format: "llama", names: new Set(tools.map(({ name }) => name)), most: 1 };
}
