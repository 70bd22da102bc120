/**
 * The routes. Every one of them needs a key where keys are set, but for the two that say whether the server lives; what
 * has no route is refused before it is looked at.
 */

import { randomUUID } from "node:crypto";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { messageOf } from "../errors.ts";
import type { CompletionOptions } from "../generate/generate.ts";
import { isAdapterName } from "../generate/set-names.ts";
import { pathInside } from "./adapter-names.ts";
import type { Admission } from "./admission.ts";
import { type KeyCheck, namesLoopback } from "./auth.ts";
import { answer, type CompletionCall, chunks } from "./completions.ts";
import type { EngineThread } from "./engine-thread.ts";
import { answerTo, type Hidden, HttpError } from "./http-error.ts";
import type { Metrics } from "./metrics.ts";
import type { ServedPrompt } from "./protocol.ts";
import type { Registry } from "./registry.ts";
import {
  adapterNames,
  type ChatRequest,
  type CompletionRequest,
  chatPrompt,
  completionOptions,
  promptsOf,
  readRequest,
} from "./requests.ts";
import type { Usage } from "./responses.ts";

export interface AppOptions {
  readonly thread: EngineThread;
  readonly registry: Registry;
  readonly admission: Admission;
  readonly metrics: Metrics;
  /** Name of the base as clients call it. */
  readonly baseName: string;
  /** Null: no keys, for this machine alone. */
  readonly key: KeyCheck | null;
  /** For routes that change what the server serves; null: as `key`. */
  readonly adminKey: KeyCheck | null;
  /** Whether clients may load and unload adapters. */
  readonly runtimeAdapters: boolean;
  /** Folder that loaded adapters must lie in; null: any. */
  readonly adaptersDir: string | null;
  readonly maxBodyBytes: number;
  readonly maxAdapters: number;
  /** Seconds that a request may take. */
  readonly requestSeconds: number;
}

/** Tokens of a completion whose request names no number: as vLLM, 16 for a text, what fits for a chat. */
const COMPLETION_TOKENS = 16;
const OPEN_ROUTES = new Set(["/health", "/ready"]);
const ADMIN_ROUTES = new Set(["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]);

export function createApp(options: AppOptions): Hono {
  const { thread, registry, admission, metrics, baseName, key, adminKey } = options;
  const started = Math.floor(Date.now() / 1000);
  const running = new Map<object, { names: readonly string[]; first: boolean }>();
  /** llama.cpp's scales for requests to the base that name no adapters. */
  let scales: ReadonlyMap<string, number> = new Map();
  const app = new Hono();
  const hidden = [[thread.facts.folder, baseName]] as const; // clients need not know where things lie

  app.onError((error, c) => {
    const { status, body } = answerTo(error, hidden);
    metrics.failed(String(status));
    if (status === 429 || status === 503) c.header("Retry-After", "1");
    return c.json(body, status as ContentfulStatusCode);
  });
  app.notFound(() => {
    throw new HttpError(404, "There is no such route.");
  });

  app.use("*", async (c, next) => {
    const { path, method } = c.req;
    if (key === null && !namesLoopback(c.req.header("host"))) {
      throw new HttpError(403, "Without a key this server answers to localhost alone.");
    }
    const open = OPEN_ROUTES.has(path) && (method === "GET" || method === "HEAD");
    const administrative = ADMIN_ROUTES.has(path) || (path === "/lora-adapters" && method === "POST");
    const check = administrative ? (adminKey ?? key) : key;
    if (!open && check !== null && !check(c.req.header("authorization"))) {
      throw new HttpError(401, "A valid key is needed: Authorization: Bearer KEY.", "invalid_api_key");
    }
    await next();
  });
  app.use(
    "*",
    bodyLimit({
      maxSize: options.maxBodyBytes,
      onError: () => {
        throw new HttpError(413, `The body is longer than ${options.maxBodyBytes} bytes.`);
      },
    }),
  );

  app.get("/health", (c) => c.json({ status: "ok" }));
  app.get("/ready", (c) =>
    admission.draining ? c.json({ status: "shutting_down" }, 503) : c.json({ status: "ready" }),
  );
  app.get("/metrics", (c) => {
    const working = [...running.values()];
    const names = (first: boolean): string[] => [
      ...new Set(working.filter((each) => each.first === first).flatMap((each) => each.names)),
    ];
    const { running: rows, waiting, cacheBytes, prefixHits } = thread.load;
    const text = metrics.render({
      running: Math.min(rows, working.length),
      waiting: Math.max(waiting, working.filter(({ first }) => !first).length),
      cacheBytes,
      prefixHits,
      runningAdapters: names(true),
      waitingAdapters: names(false),
      maxAdapters: options.maxAdapters,
      loadedAdapters: registry.loadedCount,
      loadedBytes: registry.loadedBytes,
    });
    return c.text(text, 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  });

  const card = (id: string, root: string, parent: string | null): object => ({
    id,
    object: "model",
    created: started,
    owned_by: "lowrank",
    root,
    parent,
    max_model_len: thread.facts.maxLength,
  });
  const cards = (): object[] => [
    card(baseName, baseName, null),
    ...registry.list().map(({ name }) => card(name, name, baseName)),
  ];
  app.get("/v1/models", (c) => c.json({ object: "list", data: cards() }));
  app.get("/v1/models/:name", (c) => {
    const found = cards().find((each) => (each as { id: string }).id === c.req.param("name"));
    if (!found) throw new HttpError(404, "The model does not exist.", "model_not_found");
    return c.json(found);
  });

  /** The adapters that a request names, by its model or by llama.cpp's numbers. */
  const setOf = (request: Pick<CompletionRequest, "model" | "lora">): readonly (readonly [string, number])[] => {
    const model = request.model ?? baseName;
    if (request.lora) {
      const list = registry.list();
      return request.lora.map(({ id, scale }) => {
        const named = list[id];
        if (!named) throw new HttpError(400, `lora: there is no adapter ${id}; see GET /lora-adapters.`);
        return [named.name, scale];
      });
    }
    if (model === baseName || model === "") return [...scales].filter(([, scale]) => scale !== 0);
    const names = adapterNames(model);
    if (names === null)
      throw new HttpError(404, `The model ${JSON.stringify(model)} does not exist.`, "model_not_found");
    return names;
  };

  const complete = async (
    c: Context,
    request: CompletionRequest | ChatRequest,
    prompts: readonly ServedPrompt[],
    sampling: CompletionOptions,
  ): Promise<Response> => {
    const begun = performance.now();
    const choices = request.n ?? 1;
    const leave = admission.enter(prompts.length * choices);
    const timeout = AbortSignal.timeout(options.requestSeconds * 1000);
    const gone = new AbortController();
    const signal = AbortSignal.any([timeout, gone.signal, c.req.raw.signal]);
    let held: Awaited<ReturnType<Registry["hold"]>> | null = null;
    const token = {};
    let first: number | null = null;
    const finish = (usage: Usage | null): void => {
      held?.release();
      held = null;
      running.delete(token);
      leave();
      if (usage) {
        metrics.succeeded({
          first,
          whole: (performance.now() - begun) / 1000,
          promptTokens: usage.prompt_tokens,
          completionTokens: usage.completion_tokens,
        });
      }
    };
    try {
      const set = setOf(request);
      if (set.length > options.maxAdapters) {
        throw new HttpError(400, `${set.length} adapters; this server takes ${options.maxAdapters} in a request.`);
      }
      held = await registry.hold(set);
      const state = { names: held.names, first: false };
      running.set(token, state);
      const chat = "messages" in request;
      const call: CompletionCall = {
        thread,
        facts: {
          id: `${chat ? "chatcmpl" : "cmpl"}-${randomUUID()}`,
          created: Math.floor(Date.now() / 1000),
          model: request.model || baseName,
          chat,
        },
        prompts,
        choices,
        options: { ...sampling, maxLength: thread.facts.maxLength },
        adapters: held.adapters,
        signal,
        onFirst: () => {
          state.first = true;
          first = (performance.now() - begun) / 1000;
        },
      };
      if (!request.stream) {
        const { body, usage } = await answer(call);
        finish(usage);
        return c.json(body);
      }
      const stream = chunks(call, request.stream_options?.include_usage ?? false);
      // What a request does wrong shows before its first token: it is answered with its status, not inside a stream.
      const opening = await stream.next();
      return sse(opening, stream, { gone, finish, metrics, hidden });
    } catch (error) {
      finish(null);
      if (gone.signal.aborted || c.req.raw.signal.aborted) return new Response(null, { status: 499 });
      throw error;
    }
  };

  const body = async (c: Context): Promise<unknown> => {
    try {
      return await c.req.json();
    } catch (error) {
      if (error instanceof HttpError) throw error;
      throw new HttpError(400, `The body is no JSON: ${messageOf(error)}`);
    }
  };

  app.post("/v1/completions", async (c) => {
    const request = readRequest.completion(await body(c));
    return complete(c, request, promptsOf(request), completionOptions(request, COMPLETION_TOKENS));
  });
  app.post("/v1/chat/completions", async (c) => {
    const request = readRequest.chat(await body(c));
    return complete(c, request, [chatPrompt(request)], completionOptions(request, thread.facts.maxLength));
  });

  app.post("/v1/embeddings", async (c) => {
    const request = readRequest.embedding(await body(c));
    const texts = typeof request.input === "string" ? [request.input] : request.input;
    const leave = admission.enter(1);
    const held = await registry.hold(setOf(request)).catch((error: unknown) => {
      leave();
      throw error;
    });
    try {
      const { vectors, tokens } = await thread.embed(texts, held.adapters);
      const plain = request.encoding_format !== "base64";
      const data = vectors.map((vector, index) => ({
        object: "embedding",
        index,
        embedding: plain
          ? [...vector]
          : Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64"),
      }));
      const usage = { prompt_tokens: tokens, total_tokens: tokens };
      return c.json({ object: "list", data, model: request.model || baseName, usage });
    } finally {
      held.release();
      leave();
    }
  });

  app.get("/lora-adapters", (c) =>
    c.json(registry.list().map(({ name, path }, id) => ({ id, name, path, scale: scales.get(name) ?? 0 }))),
  );
  app.post("/lora-adapters", async (c) => {
    const given = readRequest.adapterScales(await body(c));
    const list = registry.list();
    scales = new Map(
      given.map(({ id, scale }) => {
        const named = list[id];
        if (!named) throw new HttpError(400, `There is no adapter ${id}; see GET /lora-adapters.`);
        return [named.name, scale];
      }),
    );
    return c.json({ success: true });
  });

  const demandRuntime = (): void => {
    if (options.runtimeAdapters) return;
    throw new HttpError(403, "Adapters cannot be loaded at run time here; start the server with --allow-runtime-lora.");
  };
  app.post("/v1/load_lora_adapter", async (c) => {
    demandRuntime();
    const { lora_name, lora_path, load_inplace } = readRequest.loadAdapter(await body(c));
    if (!isAdapterName(lora_name) || lora_name === baseName) {
      throw new HttpError(400, `lora_name: ${JSON.stringify(lora_name)} is no name for an adapter.`);
    }
    const path = options.adaptersDir === null ? lora_path : pathInside(options.adaptersDir, lora_path);
    if (path === null) throw new HttpError(404, `lora_path: there is no folder ${lora_path}.`);
    await registry.add(lora_name, path, load_inplace ?? false);
    return c.text(`Success: LoRA adapter '${lora_name}' added successfully.`);
  });
  app.post("/v1/unload_lora_adapter", async (c) => {
    demandRuntime();
    const { lora_name } = readRequest.unloadAdapter(await body(c));
    registry.remove(lora_name);
    scales = new Map([...scales].filter(([name]) => name !== lora_name));
    return c.text(`Success: LoRA adapter '${lora_name}' removed successfully.`);
  });

  return app;
}

interface StreamEnd {
  readonly gone: AbortController;
  finish(usage: Usage | null): void;
  readonly metrics: Metrics;
  readonly hidden: Hidden;
}

/** Chunks as server-sent events. A client that goes away cancels what is not yet computed. */
function sse(
  opening: IteratorResult<Record<string, unknown>, Usage>,
  stream: AsyncGenerator<Record<string, unknown>, Usage>,
  { gone, finish, metrics, hidden }: StreamEnd,
): Response {
  const encoder = new TextEncoder();
  let next: IteratorResult<Record<string, unknown>, Usage> | null = opening;
  const text = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const send = (data: string): void => controller.enqueue(encoder.encode(`data: ${data}\n\n`));
      try {
        const { done, value } = next ?? (await stream.next());
        next = null;
        if (!done) {
          send(JSON.stringify(value));
          return;
        }
        finish(value);
        send("[DONE]");
      } catch (error) {
        finish(null);
        if (!gone.signal.aborted) {
          const { status, body } = answerTo(error, hidden);
          metrics.failed(String(status));
          send(JSON.stringify(body));
        }
      }
      controller.close();
    },
    async cancel() {
      gone.abort();
      metrics.failed("dropped");
      await stream.return(undefined as never).catch(() => {});
      finish(null);
    },
  });
  return new Response(text, {
    headers: {
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-cache",
      Connection: "keep-alive",
    },
  });
}
