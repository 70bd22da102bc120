/** Vectors of texts. */

import type { Hono } from "hono";
import { readRequest } from "./requests.ts";
import { jsonBody, type Served, setOf } from "./served.ts";

export function embeddingRoutes(app: Hono, served: Served): void {
  const { thread, registry, admission, baseName } = served;
  app.post("/v1/embeddings", async (c) => {
    const request = readRequest.embedding(await jsonBody(c));
    const texts = typeof request.input === "string" ? [request.input] : request.input;
    const set = setOf(served, request);
    const leave = admission.enter(1);
    const held = await registry.hold(set).catch((error: unknown) => {
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
}
