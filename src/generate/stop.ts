/** Stop strings in text that comes in pieces: what may be the beginning of one is held back until it is decided. */

import { UsageError } from "../errors.ts";

export interface StopFilter {
  /** The text that may go out; nothing more comes once `stopped`. */
  push(text: string): string;
  /** What was held back when the text ended without a stop string. */
  end(): string;
  readonly stopped: boolean;
}

/** Text up to the first of `stops`, which is cut off. Of two that begin together, either cuts at the same place. */
export function stopFilter(stops: readonly string[]): StopFilter {
  if (stops.includes("")) throw new UsageError("A stop string is empty; give it a text or leave it out.");
  let held = "";
  let stopped = false;
  return {
    get stopped() {
      return stopped;
    },
    push(text) {
      if (stopped) return "";
      held += text;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      // A longer stop string that begins earlier may still be open: it is not waited for.
      const keep = found.length > 0 ? Math.min(...found) : held.length - openEnd(held, stops);
      const out = held.slice(0, keep);
      stopped = found.length > 0;
      held = stopped ? "" : held.slice(keep);
      return out;
    },
    end() {
      const out = held;
      held = "";
      return out;
    },
  };
}

/** Length of the longest end of `text` that a stop string begins with. */
export function openEnd(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
