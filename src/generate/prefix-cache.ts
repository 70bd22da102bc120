/**
 * Keys and values of sequences that have ended, for those that begin alike. They depend on the adapters: entries are
 * kept by the identity of the set, which names its contents, never by an adapter's name.
 */

import type { CacheCopy } from "./cache.ts";

export interface PrefixCache {
  /** The entry that shares the most tokens with `ids`, at least a few and never all of them; null when there is none. */
  find(identity: string, ids: Int32Array): { readonly copy: CacheCopy; readonly length: number } | null;
  /** Keeps a copy, made when it is wanted: a sequence that begins with all of it replaces it. */
  add(identity: string, ids: Int32Array, copy: () => CacheCopy): void;
  readonly bytes: number;
  readonly hits: number;
}

interface Entry {
  readonly identity: string;
  readonly ids: Int32Array;
  readonly copy: CacheCopy;
}

/** Shorter beginnings are read again sooner than they are found. */
const FEWEST = 16;

/** A cache of at most `limit` bytes; the least recently used goes first. */
export function createPrefixCache(limit: number): PrefixCache {
  const entries = new Set<Entry>(); // least recently used first
  let bytes = 0;
  let hits = 0;
  const drop = (entry: Entry): void => {
    entries.delete(entry);
    bytes -= entry.copy.bytes;
  };
  return {
    get bytes() {
      return bytes;
    },
    get hits() {
      return hits;
    },
    find(identity, ids) {
      let best: { entry: Entry; length: number } | null = null;
      for (const entry of entries) {
        if (entry.identity !== identity) continue;
        const length = Math.min(shared(entry.ids, ids), ids.length - 1); // the last token's scores are still wanted
        if (length >= FEWEST && length > (best?.length ?? 0)) best = { entry, length };
      }
      if (!best) return null;
      hits++;
      entries.delete(best.entry);
      entries.add(best.entry);
      return { copy: best.entry.copy, length: best.length };
    },
    add(identity, ids, copy) {
      if (limit === 0 || ids.length < FEWEST) return;
      for (const entry of [...entries]) {
        if (entry.identity !== identity) continue;
        const length = shared(entry.ids, ids);
        if (length === ids.length) return; // there already
        if (length === entry.ids.length) drop(entry);
      }
      const entry = { identity, ids: ids.slice(), copy: copy() };
      if (entry.copy.bytes > limit) return;
      entries.add(entry);
      bytes += entry.copy.bytes;
      for (const oldest of entries) {
        if (bytes <= limit) break;
        drop(oldest);
      }
    },
  };
}

/** How many first elements are the same. */
function shared(a: Int32Array, b: Int32Array): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}
