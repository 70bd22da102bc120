/** Tools and forms of a call of the AI SDK: what the template is told, what the answer is held to, how calls are read. */

import type { LanguageModelV3CallOptions, LanguageModelV3FunctionTool, SharedV3Warning } from "@ai-sdk/provider";
import { UsageError } from "../errors.ts";
import type { TextForm } from "../generate/form.ts";
import { callForm, demandedUse } from "../generate/tool-form.ts";
import { TOOL_MARKS, type ToolFormat } from "../generate/tool-format.ts";
import type { ToolUse } from "../generate/tool-parser.ts";

export interface ToolPlan {
  /** As chat templates read them: OpenAI's form. */
  readonly tools: readonly object[];
  readonly options: { readonly form?: TextForm; readonly shownTokens?: readonly string[] };
  /** Null: what the model writes is text. */
  readonly use: ToolUse | null;
  readonly warnings: readonly SharedV3Warning[];
}

/**
 * `format`: how the model writes calls; null where nobody knows, or nothing tells it of tools. Throws UsageError for a
 * choice of a tool that is not there.
 */
export function planTools(given: LanguageModelV3CallOptions, format: ToolFormat | null): ToolPlan {
  const { toolChoice = { type: "auto" }, responseFormat } = given;
  const warnings: SharedV3Warning[] = [];
  const unsupported = (feature: string, details: string) =>
    void warnings.push({ type: "unsupported", feature, details });
  const tools = (toolChoice.type === "none" ? [] : (given.tools ?? [])).filter(
    (tool): tool is LanguageModelV3FunctionTool => {
      if (tool.type !== "function") unsupported(`tool ${tool.name}`, "Only tools of type function are known.");
      return tool.type === "function";
    },
  );
  const told = tools.map(({ name, description, inputSchema }) => ({
    type: "function",
    function: { name, ...(description === undefined ? {} : { description }), parameters: inputSchema },
  }));
  const json = responseFormat?.type === "json" ? responseFormat : null;
  const form: TextForm | null = json && (json.schema === undefined ? "json" : { schema: json.schema });
  const known = { tools: told, warnings };

  if (toolChoice.type === "required" || toolChoice.type === "tool") {
    const demanded = tools
      .filter(({ name }) => toolChoice.type === "required" || name === toolChoice.toolName)
      .map(({ name, inputSchema }) => ({ name, parameters: inputSchema }));
    if (demanded.length === 0) throw new UsageError("toolChoice: there is no such tool among the tools.");
    return { ...known, options: { form: callForm(demanded) }, use: demandedUse(demanded) };
  }
  if (tools.length > 0 && format === null) {
    const details =
      "How this model writes calls is not known from its chat template: its answer is text. Demand a call with toolChoice.";
    unsupported("tools", details);
  }
  if (tools.length === 0 || format === null) return { ...known, options: form ? { form } : {}, use: null };
  if (form) {
    const details = "An answer that may be a call of a tool is not held to JSON. Leave the tools out of the last step.";
    unsupported("responseFormat", details);
  }
  const use = { format, names: new Set(tools.map(({ name }) => name)), most: Infinity };
  return { ...known, options: { shownTokens: TOOL_MARKS[format] }, use };
}
