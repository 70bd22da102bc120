/** An answer as server-sent events. */

import { answerTo, type Hidden } from "./http-error.ts";
import type { Metrics } from "./metrics.ts";
import type { Usage } from "./responses.ts";

type Chunks = AsyncGenerator<Record<string, unknown>, Usage>;

export interface StreamEnd {
  /** Aborted when the client goes away. */
  readonly gone: AbortController;
  /** Told once of the end; null: there is no whole answer. */
  finish(usage: Usage | null): void;
  readonly metrics: Metrics;
  readonly hidden: Hidden;
}

/** Chunks from the first on, which has been waited for. A client that goes away cancels what is not yet computed. */
export function eventStream(
  opening: Awaited<ReturnType<Chunks["next"]>>,
  stream: Chunks,
  { gone, finish, metrics, hidden }: StreamEnd,
): Response {
  const encoder = new TextEncoder();
  let next: typeof opening | null = opening;
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
