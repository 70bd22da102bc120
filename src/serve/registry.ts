/**
 * Adapters by name: those given at the start, those that clients load, and those of a folder, found when they are first
 * asked for. Contents are loaded when they are needed; the least recently used leave the memory beyond a limit. A
 * request holds its adapters until it ends, whatever happens to their names meanwhile.
 */

import { folderStamp } from "../adapters/peft-folder.ts";
import { ModelError, messageOf } from "../errors.ts";
import { folderInside } from "./adapter-names.ts";
import type { EngineThread } from "./engine-thread.ts";
import { HttpError, hide } from "./http-error.ts";

export interface AdapterCard {
  readonly name: string;
  readonly path: string;
}

/** Adapters in use by one request. */
export interface Held {
  readonly adapters: readonly (readonly [adapter: number, weight: number])[];
  readonly names: readonly string[];
  release(): void;
}

export interface Registry {
  /** Names that are registered, in the order of their registration, those of the folder that are loaded included. */
  list(): readonly AdapterCard[];
  /** Registers and loads a folder. `replace` lets a name have new contents. Throws HttpError 400 for a name in use. */
  add(name: string, path: string, replace?: boolean): Promise<void>;
  /** Forgets a name; requests under way are not touched. Throws HttpError 404. */
  remove(name: string): void;
  /** Loads what is not there, and holds it. Throws HttpError 404 for an unknown name, 400 for what cannot be loaded. */
  hold(set: readonly (readonly [name: string, weight: number])[]): Promise<Held>;
  /** Requests that hold each adapter. */
  readonly inUse: ReadonlyMap<string, number>;
  readonly loadedBytes: number;
  readonly loadedCount: number;
}

export interface RegistryOptions {
  readonly thread: Pick<EngineThread, "loadAdapter" | "dropAdapter">;
  /** Folder of adapters that are found by name; null for none. */
  readonly folder: string | null;
  /** Bytes of adapters in memory, while no request needs more. */
  readonly limit: number;
}

/** One content of a name. */
interface Content {
  readonly number: number;
  readonly bytes: number;
  /** Times and sizes of its files when they were read. */
  readonly stamp: string;
  users: number;
  /** Whether it goes when its last user does. */
  dropped: boolean;
}

interface Entry {
  readonly name: string;
  readonly path: string;
  /** Whether it was found in the folder, so that a change there is followed. */
  readonly found: boolean;
  /** Hash of what was registered under the name; null for a folder that is followed. */
  registered: string | null;
  content: Content | null;
  loading: Promise<Content> | null;
}

export function createRegistry({ thread, folder, limit }: RegistryOptions): Registry {
  const entries = new Map<string, Entry>();
  const recent = new Map<Content, Entry>(); // loaded ones, least recently used first
  const inUse = new Map<string, number>();
  let number = 0;

  const loadedBytes = (): number => [...recent.keys()].reduce((sum, { bytes }) => sum + bytes, 0);

  const drop = (content: Content): void => {
    const entry = recent.get(content);
    if (entry?.content === content) entry.content = null;
    content.dropped = true;
    if (content.users > 0) return;
    recent.delete(content);
    thread.dropAdapter(content.number);
  };

  const evict = (): void => {
    let bytes = loadedBytes();
    for (const content of [...recent.keys()]) {
      if (bytes <= limit) break;
      if (content.users > 0) continue;
      bytes -= content.bytes;
      drop(content);
    }
  };

  const load = async (entry: Entry): Promise<Content> => {
    const stamp = folderStamp(entry.path);
    const id = ++number;
    const { bytes, content: hash } = await thread.loadAdapter(id, entry.path);
    if (entry.registered !== null && entry.registered !== hash) {
      thread.dropAdapter(id);
      throw new ModelError(
        "its files are not those that were registered. Load it again (load_inplace), or restore them.",
      );
    }
    if (!entry.found) entry.registered = hash;
    const content: Content = { number: id, bytes, stamp, users: 0, dropped: false };
    recent.set(content, entry);
    return content;
  };

  const loadFound = async (entry: Entry): Promise<Content> => {
    const content = await load(entry);
    if (entries.get(entry.name) === entry) entry.content = content;
    else drop(content); // the name was taken away meanwhile
    return content;
  };

  const contentOf = async (entry: Entry): Promise<Content> => {
    if (entry.content && entry.found && folderStamp(entry.path) !== entry.content.stamp) drop(entry.content);
    if (entry.content) return entry.content;
    entry.loading ??= loadFound(entry).finally(() => {
      entry.loading = null;
    });
    return entry.loading;
  };

  const find = (name: string): Entry => {
    const known = entries.get(name);
    if (known && (!known.found || folderInside(folder!, name) !== null)) return known;
    if (known) remove(name); // it was deleted from the folder
    const path = folder === null ? null : folderInside(folder, name);
    if (path === null) throw unknown(name);
    const entry: Entry = { name, path, found: true, registered: null, content: null, loading: null };
    entries.set(name, entry);
    return entry;
  };

  const remove = (name: string): void => {
    const entry = entries.get(name);
    if (!entry) throw unknown(name);
    entries.delete(name);
    if (entry.content) drop(entry.content);
  };

  const holdOne = async (name: string): Promise<Content> => {
    try {
      let entry = find(name);
      let content = await contentOf(entry);
      while (content.dropped) {
        entry = find(name);
        content = await contentOf(entry);
      }
      content.users++;
      recent.delete(content);
      recent.set(content, entry);
      return content;
    } catch (error) {
      const failed = entries.get(name);
      if (failed?.found && !failed.content) entries.delete(name); // names that clients make up take no room
      if (error instanceof HttpError) throw error;
      const message = hide(messageOf(error), failed ? [[failed.path, name]] : []);
      throw new HttpError(400, `The adapter ${name} cannot be loaded: ${message}`);
    }
  };

  const letGo = (content: Content): void => {
    content.users--;
    if (content.users === 0 && content.dropped) {
      recent.delete(content);
      thread.dropAdapter(content.number);
    }
  };

  return {
    inUse,
    get loadedBytes() {
      return loadedBytes();
    },
    get loadedCount() {
      return recent.size;
    },
    list: () => [...entries.values()].map(({ name, path }) => ({ name, path })),
    async add(name, path, replace = false) {
      const old = entries.get(name);
      if (old && !replace) {
        throw new HttpError(400, `The adapter ${name} is loaded already. Unload it first, or set load_inplace.`);
      }
      const entry: Entry = { name, path, found: false, registered: null, content: null, loading: null };
      const content = await load(entry);
      if (entries.get(name) !== old && !replace) {
        drop(content);
        throw new HttpError(400, `The adapter ${name} was loaded meanwhile. Unload it first, or set load_inplace.`);
      }
      const before = entries.get(name);
      entries.set(name, entry); // one step: a request has the old content or the new one
      entry.content = content;
      if (before?.content) drop(before.content);
      evict();
    },
    remove,
    async hold(set) {
      const held: { readonly name: string; readonly content: Content }[] = [];
      const release = (): void => {
        for (const { name, content } of held.splice(0)) {
          letGo(content);
          const users = inUse.get(name)! - 1;
          if (users === 0) inUse.delete(name);
          else inUse.set(name, users);
        }
        evict();
      };
      try {
        const adapters: [number, number][] = [];
        for (const [name, weight] of set) {
          const content = await holdOne(name);
          held.push({ name, content });
          inUse.set(name, (inUse.get(name) ?? 0) + 1);
          adapters.push([content.number, weight]);
        }
        evict();
        return { adapters, names: set.map(([name]) => name), release };
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}

function unknown(name: string): HttpError {
  return new HttpError(404, `The model ${JSON.stringify(name)} does not exist.`, "model_not_found");
}
