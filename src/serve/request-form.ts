/** What a request holds its answers to: OpenAI's `response_format`, and vLLM's names of the same. */

import { z } from "zod";
import type { TextForm } from "../generate/form.ts";
import { HttpError } from "./http-error.ts";

type Schema = boolean | Readonly<Record<string, unknown>>;

/** Fields of both kinds of requests. */
export interface FormFields {
  readonly response_format?:
    | { readonly type: "text" }
    | { readonly type: "json_object" }
    | { readonly type: "json_schema"; readonly json_schema: { readonly schema?: Schema | undefined } }
    | null
    | undefined;
  /** vLLM's, of its newer versions; a schema may be JSON text. */
  readonly structured_outputs?:
    | {
        readonly json?: Schema | string | undefined;
        readonly regex?: string | undefined;
        readonly choice?: readonly string[] | undefined;
        readonly json_object?: boolean | undefined;
      }
    | null
    | undefined;
  readonly guided_json?: Schema | string | null | undefined;
  readonly guided_regex?: string | null | undefined;
  readonly guided_choice?: readonly string[] | null | undefined;
}

const schema = z.union([z.record(z.string(), z.unknown()), z.boolean()]);
const schemaOrText = z.union([schema, z.string()]);
const choices = z.array(z.string().min(1)).min(1).max(1024);

export const FORM_FIELDS: { readonly [Field in keyof FormFields]-?: z.ZodType<FormFields[Field]> } = {
  response_format: z
    .discriminatedUnion("type", [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("json_object") }),
      z.object({ type: z.literal("json_schema"), json_schema: z.object({ schema: schema.optional() }) }),
    ])
    .nullish(),
  structured_outputs: z
    .strictObject({
      json: schemaOrText.optional(),
      regex: z.string().optional(),
      choice: choices.optional(),
      json_object: z.boolean().optional(),
    })
    .nullish(),
  guided_json: schemaOrText.nullish(),
  guided_regex: z.string().nullish(),
  guided_choice: choices.nullish(),
};

/** Null for any text. Throws HttpError 400 for more than one form. */
export function formOf(request: FormFields): TextForm | null {
  const { response_format: format, structured_outputs: vllm } = request;
  const forms: TextForm[] = [];
  if (format?.type === "json_object" || vllm?.json_object) forms.push("json");
  if (format?.type === "json_schema") {
    const { schema: given } = format.json_schema;
    forms.push(given === undefined ? "json" : { schema: given });
  }
  for (const json of [vllm?.json, request.guided_json]) if (json != null) forms.push({ schema: schemaIn(json) });
  for (const pattern of [vllm?.regex, request.guided_regex]) if (pattern != null) forms.push({ pattern });
  for (const texts of [vllm?.choice, request.guided_choice]) if (texts != null) forms.push({ choices: texts });
  if (forms.length > 1) throw new HttpError(400, "The answer can be held to one form; found several.");
  return forms[0] ?? null;
}

function schemaIn(given: Schema | string): unknown {
  if (typeof given !== "string") return given;
  try {
    return JSON.parse(given);
  } catch {
    throw new HttpError(400, "guided_json: the schema is no JSON.");
  }
}
