/** Sessions by what their graphs are made of: kept for the next run, or closed after each to give their memory back. */

import type { Value } from "../graph/graph.ts";
import type { Runtime, Session, SessionOptions } from "../runtime/session.ts";

export interface PooledSession extends Pick<Session, "run"> {
  /** Gives the session back: nothing more is run on it before it is opened again. */
  done(): Promise<void>;
}

export interface SessionPool {
  /** The session of `key`; `build` gives its graph's outputs when there is none yet. */
  open(key: string, build: () => ReadonlyMap<string, Value>): Promise<PooledSession>;
  close(): Promise<void>;
}

/** `keep` is how many sessions stay open; the least recently used go first. */
export function createSessionPool(runtime: Runtime, options: SessionOptions, keep: number): SessionPool {
  const held = new Map<string, Session>();
  return {
    open: async (key, build) => {
      const session = held.get(key) ?? (await runtime.open(build(), options));
      held.delete(key);
      held.set(key, session);
      return {
        run: (inputs) => session.run(inputs),
        done: async () => {
          while (held.size > keep) {
            const [oldest, { close }] = held.entries().next().value!;
            held.delete(oldest);
            await close();
          }
        },
      };
    },
    close: async () => {
      for (const { close } of held.values()) await close();
      held.clear();
    },
  };
}
