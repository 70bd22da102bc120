/** How the server is: alive, ready, and its counters. */

import type { Hono } from "hono";
import type { Served } from "./served.ts";

export function healthRoutes(app: Hono, { admission, metrics, thread, registry, maxAdapters, underway }: Served): void {
  app.get("/health", (c) => c.json({ status: "ok" }));
  app.get("/ready", (c) =>
    admission.draining ? c.json({ status: "shutting_down" }, 503) : c.json({ status: "ready" }),
  );
  app.get("/metrics", (c) => {
    const working = [...underway];
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
      maxAdapters,
      loadedAdapters: registry.loadedCount,
      loadedBytes: registry.loadedBytes,
    });
    return c.text(text, 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  });
}
