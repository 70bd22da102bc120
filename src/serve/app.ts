/**
 * The routes. Every one of them needs a key where keys are set, but for the two that say whether the server lives; what
 * has no route is refused before it is looked at.
 */

import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { adapterRoutes } from "./adapter-routes.ts";
import { type KeyCheck, namesLoopback } from "./auth.ts";
import { completionRoutes } from "./completion-routes.ts";
import { embeddingRoutes } from "./embedding-routes.ts";
import { healthRoutes } from "./health-routes.ts";
import { answerTo, HttpError } from "./http-error.ts";
import { modelRoutes } from "./model-routes.ts";
import { createServed, type ServedOptions } from "./served.ts";

export interface AppOptions extends ServedOptions {
  /** Null: no keys, for this machine alone. */
  readonly key: KeyCheck | null;
  /** For routes that change what the server serves; null: as `key`. */
  readonly adminKey: KeyCheck | null;
  readonly maxBodyBytes: number;
}

const OPEN_ROUTES = new Set(["/health", "/ready"]);
const ADMIN_ROUTES = new Set(["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]);

export function createApp({ key, adminKey, maxBodyBytes, ...options }: AppOptions): Hono {
  const served = createServed(options);
  const app = new Hono();

  app.onError((error, c) => {
    const { status, body } = answerTo(error, served.hidden);
    served.metrics.failed(String(status));
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
      maxSize: maxBodyBytes,
      onError: () => {
        throw new HttpError(413, `The body is longer than ${maxBodyBytes} bytes.`);
      },
    }),
  );

  healthRoutes(app, served);
  modelRoutes(app, served);
  completionRoutes(app, served);
  embeddingRoutes(app, served);
  adapterRoutes(app, served);
  return app;
}
