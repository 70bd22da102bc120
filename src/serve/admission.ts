/** How many requests may be there at once, and what becomes of them when the server ends. */

import { HttpError } from "./http-error.ts";

export interface Admission {
  /** Takes a request of so many completions in; call the function when it has ended. Throws HttpError 429 or 503. */
  enter(completions: number): () => void;
  /** Takes no more requests; resolves when those under way have ended. */
  drain(): Promise<void>;
  readonly draining: boolean;
}

export function createAdmission(limit: number): Admission {
  let inside = 0;
  let draining = false;
  let idle: () => void = () => {};
  return {
    get draining() {
      return draining;
    },
    enter(completions) {
      if (draining) throw new HttpError(503, "The server is shutting down.", "shutting_down");
      if (inside + completions > limit) {
        throw new HttpError(429, `${inside} completions are under way or waiting; this server takes ${limit}.`);
      }
      inside += completions;
      let left = false;
      return () => {
        if (left) return;
        left = true;
        inside -= completions;
        if (inside === 0) idle();
      };
    },
    async drain() {
      draining = true;
      if (inside === 0) return;
      await new Promise<void>((resolve) => {
        idle = resolve;
      });
    },
  };
}
