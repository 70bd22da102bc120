/**
 * A local page over a folder of runs. It listens on loopback only, answers no other host's name (a page elsewhere could
 * otherwise reach it under a name of its own), and does nothing without the token that its own page holds.
 */

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { serve } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { stream as streamText } from "hono/streaming";
import { z } from "zod";
import { LowrankError, messageOf } from "../errors.ts";
import { fragment } from "../report/html.ts";
import { changes } from "./changes.ts";
import { createChat } from "./chat.ts";
import type { ImageBase } from "./image-messages.ts";
import { addImages } from "./image-routes.ts";
import { uiPage } from "./page.ts";
import { type LoggedRun, runFolder } from "./runs.ts";
import { MOST_COMPARED, runList, runView } from "./views.ts";

export interface UiOptions {
  /** Folder whose runs are shown. */
  readonly runs: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly threads: number;
  /** Base of the images page. */
  readonly images: ImageBase;
  /** Of this package, for the pictures' metadata. */
  readonly version: string;
}

export interface RunningUi {
  readonly url: string;
  stop(): Promise<void>;
}

const HOST = "127.0.0.1";
/** Modules of the pages. */
const SCRIPTS = ["client.js", "image-client.js", "lines.js"] as const;
const MOST_BODY = 2 ** 17;

const chatBody = z.strictObject({
  runs: z.array(z.string()).max(MOST_COMPARED),
  prompt: z.string().min(1).max(100_000),
  chat: z.boolean(),
  maxTokens: z.number().int().min(1).max(2048),
  temperature: z.number().min(0).max(2),
});

export async function startUi({ runs: root, port, threads, images: base, version }: UiOptions): Promise<RunningUi> {
  const token = randomBytes(24).toString("base64url");
  const folder = runFolder(root);
  const chat = createChat(threads);
  const ended = new AbortController();
  const app = new Hono();

  app.use(async (context, next) => {
    const host = (context.req.header("host") ?? "").replace(/:\d+$/, "");
    if (host !== HOST && host !== "localhost") return context.text("This page answers to its own address alone.", 403);
    if (context.req.method !== "GET" && !isOwn(context, token)) {
      return context.text("The request is not from this page. Load it again.", 403);
    }
    await next();
    context.header("x-content-type-options", "nosniff");
    context.header("x-frame-options", "DENY");
    context.header("cross-origin-resource-policy", "same-origin");
    context.header("cache-control", "no-store");
    return undefined;
  });

  const chosen = (context: Context): LoggedRun[] =>
    (context.req.queries("run") ?? []).slice(0, MOST_COMPARED).flatMap((id) => folder.find(id) ?? []);
  app.get("/", (context) => context.html(uiPage(token)));
  for (const name of SCRIPTS) {
    const script = readFileSync(new URL(`./${name}`, import.meta.url), "utf8");
    app.get(`/${name}`, (context) => context.body(script, 200, { "content-type": "text/javascript; charset=utf-8" }));
  }
  app.get("/parts/runs", (context) => context.html(fragment(runList(folder.list(), context.req.queries("run") ?? []))));
  app.get("/parts/view", (context) => context.html(fragment(runView(chosen(context)))));
  app.get("/runs/:id/report.html", (context) => {
    const path = join(folder.find(context.req.param("id"))?.folder ?? "", "report.html");
    if (!folder.find(context.req.param("id")) || !existsSync(path)) return context.text("This run has no report.", 404);
    return context.html(readFileSync(path, "utf8"));
  });

  app.get("/changes", (context) =>
    changes(context, ended.signal, () => folder.list().map(({ id, updated, state }) => [id, updated, state])),
  );
  app.post("/chat", bodyLimit({ maxSize: MOST_BODY }), async (context) => {
    const body = chatBody.safeParse(await context.req.json().catch(() => null));
    return streamText(context, async (answer) => {
      const line = (value: object): Promise<unknown> => answer.write(`${JSON.stringify(value)}\n`);
      const gone = new AbortController();
      answer.onAbort(() => gone.abort());
      try {
        if (!body.success) throw new LowrankError(z.prettifyError(body.error));
        const { runs: ids, ...rest } = body.data;
        const found = ids.map((id) => {
          const run = folder.find(id);
          if (!run) throw new LowrankError(`There is no run ${id}.`);
          return run;
        });
        for await (const piece of chat.answer({ ...rest, runs: found, signal: gone.signal })) await line(piece);
      } catch (error) {
        await line({ error: messageOf(error) });
      }
    });
  });

  const images = addImages(app, { runs: root, base, threads, version, token, ended: ended.signal });

  const server = await new Promise<ReturnType<typeof serve>>((resolve, reject) => {
    const starting = serve({ fetch: app.fetch, hostname: HOST, port }, () => resolve(starting));
    starting.on("error", (error: Error) =>
      reject(new LowrankError(`cannot listen on ${HOST}:${port}: ${error.message}. Choose another --port.`)),
    );
  });
  const address = server.address();
  const url = `http://${HOST}:${typeof address === "object" && address ? address.port : port}/`;
  return {
    url,
    stop: async () => {
      ended.abort();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await Promise.all([chat.close(), images.close()]);
    },
  };
}

/** Whether a request that does something comes from the page: it knows the token, and its origin is no other. */
function isOwn(context: Context, token: string): boolean {
  const origin = context.req.header("origin");
  const host = context.req.header("host");
  return context.req.header("x-lowrank-token") === token && (origin === undefined || origin === `http://${host}`);
}
