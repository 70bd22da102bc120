/** Vectors of texts from a sentence model with any adapters, as the computing thread serves it. */

import { adapterInfo } from "../adapters/info.ts";
import { folderContent } from "../adapters/peft-folder.ts";
import { ModelError } from "../errors.ts";
import { type Embedder, openEmbedder } from "../evaluate/embed.ts";
import type { Model } from "../models/open.ts";
import type { Runtime } from "../runtime/session.ts";
import type { EngineSettings, GenerateCall } from "./protocol.ts";
import { refusing, type ServedEngine } from "./served-engine.ts";
import { readUnchanged } from "./unchanged.ts";

/** Sets of adapters whose sessions are kept. */
const LIMIT = 8;

export function openEmbeddingEngine(settings: EngineSettings, model: Model, runtime: Runtime): ServedEngine {
  const { model: base, threads, maxLength, precision = "fp32", cacheDir = null } = settings;
  const folders = new Map<number, { readonly path: string; readonly content: string | null }>();
  const opened = new Map<string, Embedder>(); // least recently used first
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;

  const embedderOf = async (used: GenerateCall["adapters"]): Promise<Embedder> => {
    const key = used.map(([number, weight]) => `${number}@${weight}`).join();
    const found = opened.get(key);
    opened.delete(key);
    if (!found && opened.size >= LIMIT) {
      const [oldest, embedder] = opened.entries().next().value!;
      opened.delete(oldest);
      await embedder.close();
    }
    const adapters = used.map(([number, weight]) => ({
      name: String(number),
      path: folders.get(number)!.path,
      weight,
    }));
    const options = { model: base, threads, maxLength, precision, cacheDir, adapters };
    const embedder = found ?? (await openEmbedder(options, runtime));
    if (!found && used.some(([number]) => isChanged(folders.get(number)!))) {
      await embedder.close();
      // Clients read this: they need not know where adapters lie.
      throw new ModelError("An adapter's files are not those that were registered. Load it again, or restore them.");
    }
    opened.set(key, embedder);
    return embedder;
  };

  /** One call after the other. */
  const inTurn = <R>(task: () => Promise<R>): Promise<R> => {
    waiting++;
    const mine = last.then(task, task).finally(() => {
      waiting--;
    });
    last = mine.catch(() => {});
    return mine;
  };

  const forget = async (number: number): Promise<void> => {
    folders.delete(number);
    for (const [key, embedder] of [...opened]) {
      if (!key.split(",").some((each) => each.startsWith(`${number}@`))) continue;
      opened.delete(key);
      await embedder.close();
    }
  };

  const { name, folder, config } = model;
  return {
    facts: { name, folder, maxLength: maxLength ?? config.maxPositions ?? 0, kind: "embedding", toolFormat: null },
    load: () => ({ running: Math.min(1, waiting), waiting: Math.max(0, waiting - 1), cacheBytes: 0, prefixHits: 0 }),
    loadAdapter: (number, path) =>
      inTurn(async () => {
        folders.set(number, { path, content: null });
        try {
          // Read now, and checked against the base.
          const { content } = await readUnchanged(path, () => embedderOf([[number, 1]]));
          folders.set(number, { path, content });
          const { bytes, r } = adapterInfo(path);
          return { bytes, rank: r, content };
        } catch (error) {
          await forget(number);
          throw error;
        }
      }),
    dropAdapter: (number) => void inTurn(() => forget(number)),
    generate: refusing(`${name} is a sentence model; it writes no text. Use /v1/embeddings.`),
    embed: (texts, used) => inTurn(async () => (await embedderOf(used)).embed(texts)),
    close: () =>
      inTurn(async () => {
        for (const embedder of opened.values()) await embedder.close();
      }),
  };
}

/** Sessions are opened from the files when they are needed: these must still hold what was loaded. */
function isChanged({ path, content }: { readonly path: string; readonly content: string | null }): boolean {
  return content !== null && folderContent(path) !== content;
}
