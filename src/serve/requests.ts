/** Requests as OpenAI's API and its neighbours have them, read strictly: what is not known to work is refused by name. */

import { z } from "zod";
import type { TextForm } from "../generate/form.ts";
import type { CompletionOptions } from "../generate/generate.ts";
import { setNames } from "../generate/set-names.ts";
import { callForm } from "../generate/tool-form.ts";
import { HttpError } from "./http-error.ts";
import type { Message, ServedPrompt } from "./protocol.ts";
import { FORM_FIELDS, type FormFields, formOf } from "./request-form.ts";

/** Sizes beyond which a request is a mistake or an attack. */
const MOST = {
  prompts: 32,
  texts: 512,
  choices: 16,
  messages: 2048,
  tools: 256,
  stops: 16,
  stopLength: 512,
  biases: 1024,
  adapters: 16,
};

/** What both kinds of requests have in common. */
interface SharedRequest extends FormFields {
  readonly model?: string | null | undefined;
  readonly max_tokens?: number | null | undefined;
  readonly temperature?: number | null | undefined;
  readonly top_p?: number | null | undefined;
  readonly top_k?: number | null | undefined;
  readonly min_p?: number | null | undefined;
  readonly repetition_penalty?: number | null | undefined;
  /** llama.cpp's name of the same. */
  readonly repeat_penalty?: number | null | undefined;
  readonly presence_penalty?: number | null | undefined;
  readonly frequency_penalty?: number | null | undefined;
  readonly logit_bias?: Readonly<Record<string, number>> | null | undefined;
  readonly seed?: number | null | undefined;
  readonly n?: number | null | undefined;
  readonly stop?: string | readonly string[] | null | undefined;
  readonly ignore_eos?: boolean | null | undefined;
  readonly stream?: boolean | null | undefined;
  readonly stream_options?: { readonly include_usage?: boolean | null | undefined } | null | undefined;
  readonly lora?: readonly AdapterScale[] | null | undefined;
}

/** llama.cpp's choice of an adapter. */
export interface AdapterScale {
  readonly id: number;
  readonly scale: number;
}

export interface CompletionRequest extends SharedRequest {
  readonly prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  readonly logprobs?: number | null | undefined;
}

/** A function that the model may call; its JSON schema goes to the chat template as it is. */
export interface Tool {
  readonly type: "function";
  readonly function: { readonly name: string; readonly parameters?: unknown };
}

/** "required": some tool must be called; an object: that one. */
export type ToolChoice =
  | "auto"
  | "none"
  | "required"
  | { readonly type: "function"; readonly function: { readonly name: string } };

export interface ChatRequest extends SharedRequest {
  readonly messages: readonly Message[];
  readonly tools?: readonly Tool[] | null | undefined;
  readonly tool_choice?: ToolChoice | null | undefined;
  readonly parallel_tool_calls?: boolean | null | undefined;
  readonly max_completion_tokens?: number | null | undefined;
  readonly logprobs?: boolean | null | undefined;
  readonly top_logprobs?: number | null | undefined;
}

export interface EmbeddingRequest {
  readonly model?: string | null | undefined;
  readonly input: string | readonly string[];
  readonly encoding_format?: "float" | "base64" | null | undefined;
}

export interface LoadAdapterRequest {
  readonly lora_name: string;
  readonly lora_path: string;
  readonly load_inplace?: boolean | null | undefined;
}

export interface UnloadAdapterRequest {
  readonly lora_name: string;
}

const number = z.number().nullish();
const whole = z.number().int().nullish();

const shared = {
  model: z.string().max(4096).nullish(),
  max_tokens: z.number().int().min(1).nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: number,
  top_k: whole,
  min_p: number,
  repetition_penalty: number,
  repeat_penalty: number,
  presence_penalty: number,
  frequency_penalty: number,
  logit_bias: z.record(z.string(), z.number()).nullish(),
  seed: whole,
  n: z.number().int().min(1).max(MOST.choices).nullish(),
  stop: z.union([z.string().max(MOST.stopLength), z.array(z.string().max(MOST.stopLength)).max(MOST.stops)]).nullish(),
  ignore_eos: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  lora: z
    .array(z.object({ id: z.number().int().min(0), scale: z.number().min(-1e3).max(1e3) }))
    .max(MOST.adapters)
    .nullish(),
  user: z.string().nullish(),
  ...FORM_FIELDS,
};

const completionRequest = z.object({
  ...shared,
  prompt: z.union([
    z.string(),
    z.array(z.string()).min(1).max(MOST.prompts),
    z.array(z.number().int().min(0)).min(1),
    z
      .array(z.array(z.number().int().min(0)).min(1))
      .min(1)
      .max(MOST.prompts),
  ]),
  logprobs: z.number().int().min(0).max(20).nullish(),
  echo: z.literal(false, { error: "echo is not supported; leave it out" }).nullish(),
  suffix: z.null({ error: "suffix is not supported; leave it out" }).optional(),
  best_of: z.literal(1, { error: "best_of is not supported; use n" }).nullish(),
});

const chatRequest = z.object({
  ...shared,
  messages: z
    .array(z.looseObject({ role: z.string().max(64) }))
    .min(1)
    .max(MOST.messages),
  tools: z
    .array(
      z.looseObject({
        type: z.literal("function", { error: 'only tools of type "function" are known' }),
        function: z.looseObject({ name: z.string().min(1).max(256) }),
      }),
    )
    .max(MOST.tools)
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  tool_choice: z
    .union([
      z.enum(["auto", "none", "required"]),
      z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
    ])
    .nullish(),
  max_completion_tokens: z.number().int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
});

const embeddingRequest = z.object({
  model: shared.model,
  input: z.union([z.string(), z.array(z.string()).min(1).max(MOST.texts)]),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.null({ error: "dimensions is not supported: vectors have the model's width" }).optional(),
});

const loadAdapterRequest = z.object({
  lora_name: z.string().min(1),
  lora_path: z.string().min(1).max(4096),
  load_inplace: z.boolean().nullish(),
});
const unloadAdapterRequest = z.object({ lora_name: z.string().min(1), lora_int_id: whole });
const adapterScales = z
  .array(z.object({ id: z.number().int().min(0), scale: z.number().min(-1e3).max(1e3) }))
  .max(4096);

/** Requests by kind. Each throws HttpError 400 that names every field that does not fit. */
export const readRequest: {
  readonly completion: (body: unknown) => CompletionRequest;
  readonly chat: (body: unknown) => ChatRequest;
  readonly embedding: (body: unknown) => EmbeddingRequest;
  readonly loadAdapter: (body: unknown) => LoadAdapterRequest;
  readonly unloadAdapter: (body: unknown) => UnloadAdapterRequest;
  readonly adapterScales: (body: unknown) => readonly AdapterScale[];
} = {
  completion: (body) => parsed<CompletionRequest>(completionRequest, body),
  chat: (body) => parsed<ChatRequest>(chatRequest, body),
  embedding: (body) => parsed<EmbeddingRequest>(embeddingRequest, body),
  loadAdapter: (body) => parsed<LoadAdapterRequest>(loadAdapterRequest, body),
  unloadAdapter: (body) => parsed<UnloadAdapterRequest>(unloadAdapterRequest, body),
  adapterScales: (body) => parsed<readonly AdapterScale[]>(adapterScales, body),
};

function parsed<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const problems = result.error.issues
    .slice(0, 10)
    .map(({ path, message }) => `${path.join(".") || "body"}: ${message}`);
  throw new HttpError(400, problems.join("; "));
}

/** Sampling and limits of a request. `room` is the default of max_tokens. */
export function completionOptions(request: CompletionRequest | ChatRequest, room: number): CompletionOptions {
  const chat = "messages" in request;
  const logprobs = chat
    ? request.logprobs
      ? (request.top_logprobs ?? 0)
      : undefined
    : (request.logprobs ?? undefined);
  const most = (chat ? request.max_completion_tokens : undefined) ?? request.max_tokens ?? room;
  const stop = request.stop ?? [];
  const defined = {
    topK: request.top_k === -1 ? 0 : request.top_k, // vLLM's "all"
    topP: request.top_p,
    minP: request.min_p,
    repetitionPenalty: request.repetition_penalty ?? request.repeat_penalty,
    presencePenalty: request.presence_penalty,
    frequencyPenalty: request.frequency_penalty,
    logitBias: biases(request.logit_bias),
    ignoreEnd: request.ignore_eos,
    form: (chat ? demandedCall(request) : null) ?? formOf(request),
    logprobs,
  };
  return {
    maxTokens: most,
    temperature: request.temperature ?? 1,
    seed: request.seed ?? Math.floor(Math.random() * 2 ** 31),
    stop: typeof stop === "string" ? [stop] : stop,
    ...Object.fromEntries(Object.entries(defined).filter(([, value]) => value !== undefined && value !== null)),
  };
}

/** Tools of which one must be called; null when the model decides. Throws HttpError 400 for a tool that is not there. */
export function demandedTools({ tools, tool_choice: choice }: ChatRequest): readonly Tool[] | null {
  if (choice == null || choice === "auto" || choice === "none") return null;
  const all = tools ?? [];
  const demanded = choice === "required" ? all : all.filter((tool) => tool.function.name === choice.function.name);
  if (demanded.length === 0) throw new HttpError(400, "tool_choice: there is no such tool among tools.");
  return demanded;
}

function demandedCall(request: ChatRequest): TextForm | null {
  const demanded = demandedTools(request);
  return demanded && callForm(demanded.map((tool) => tool.function));
}

function biases(given: Readonly<Record<string, number>> | null | undefined): Record<number, number> | undefined {
  if (!given) return undefined;
  if (Object.keys(given).length > MOST.biases) throw new HttpError(400, `logit_bias: more than ${MOST.biases} tokens`);
  return given;
}

/** The prompts of a completion request. */
export function promptsOf({ prompt }: CompletionRequest): readonly ServedPrompt[] {
  if (typeof prompt === "string") return [{ prompt }];
  if (typeof prompt[0] === "number") return [{ tokenIds: prompt as number[] }];
  return (prompt as (string | number[])[]).map((each) =>
    typeof each === "string" ? { prompt: each } : { tokenIds: each },
  );
}

/** The messages as templates read them: parts of text joined. Throws HttpError 400 for parts of another kind. */
export function chatPrompt({ messages, tools, tool_choice }: ChatRequest): ServedPrompt {
  const read = messages.map((message): Message => {
    const { content } = message;
    if (!Array.isArray(content)) return message;
    const text = content.map((part: { type?: unknown; text?: unknown } | null) => {
      if (part?.type === "text" && typeof part.text === "string") return part.text;
      throw new HttpError(400, `messages: a part of type ${JSON.stringify(part?.type)}; this server reads text only`);
    });
    return { ...message, content: text.join("") };
  });
  return { messages: read, ...(tools && tools.length > 0 && tool_choice !== "none" ? { tools } : {}) };
}

/** A model's name as adapters with weights: "a", "a@0.7,b@0.3". Null when it is no such name. */
export function adapterNames(model: string): readonly (readonly [name: string, weight: number])[] | null {
  const set = setNames(model);
  if (set && set.length > MOST.adapters) throw new HttpError(400, `model: more than ${MOST.adapters} adapters`);
  return set;
}
