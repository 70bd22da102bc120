/** Tells a page when something that it shows has changed. */

import type { Context } from "hono";
import { streamSSE } from "hono/streaming";

/** Milliseconds between looks. */
const POLL = 500;

/** Server-sent events: `look`'s answer as JSON, whenever it is another than before. */
export function changes(context: Context, ended: AbortSignal, look: () => unknown): Response {
  return streamSSE(context, async (events) => {
    let told = "";
    let open = true;
    events.onAbort(() => {
      open = false;
    });
    while (open && !ended.aborted) {
      const now = JSON.stringify(look());
      if (now !== told) await events.writeSSE({ data: now });
      told = now;
      await events.sleep(POLL);
    }
  });
}
