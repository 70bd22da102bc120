/** OpenAI's list of models: the base and its adapters, as vLLM tells them. */

import type { Hono } from "hono";
import { HttpError } from "./http-error.ts";
import type { Served } from "./served.ts";

export function modelRoutes(app: Hono, { thread, registry, baseName }: Served): void {
  const created = Math.floor(Date.now() / 1000);
  const card = (id: string, parent: string | null) => ({
    id,
    object: "model",
    created,
    owned_by: "lowrank",
    root: id,
    parent,
    max_model_len: thread.facts.maxLength,
  });
  const cards = () => [card(baseName, null), ...registry.list().map(({ name }) => card(name, baseName))];
  app.get("/v1/models", (c) => c.json({ object: "list", data: cards() }));
  app.get("/v1/models/:name", (c) => {
    const found = cards().find(({ id }) => id === c.req.param("name"));
    if (!found) throw new HttpError(404, "The model does not exist.", "model_not_found");
    return c.json(found);
  });
}
