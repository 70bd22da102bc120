/** What the families of routes share: the thread, the adapters by name, the limits, and the requests under way. */

import type { Context } from "hono";
import { messageOf } from "../errors.ts";
import type { Admission } from "./admission.ts";
import type { EngineThread } from "./engine-thread.ts";
import { type Hidden, HttpError } from "./http-error.ts";
import type { Metrics } from "./metrics.ts";
import type { Registry } from "./registry.ts";
import { type AdapterScale, adapterNames } from "./requests.ts";

export interface ServedOptions {
  readonly thread: EngineThread;
  readonly registry: Registry;
  readonly admission: Admission;
  readonly metrics: Metrics;
  /** Name of the base as clients call it. */
  readonly baseName: string;
  /** Whether clients may load and unload adapters. */
  readonly runtimeAdapters: boolean;
  /** Folder that loaded adapters must lie in; null: any. */
  readonly adaptersDir: string | null;
  readonly maxAdapters: number;
  /** Seconds that a request may take. */
  readonly requestSeconds: number;
}

/** A request that has its adapters. */
export interface Underway {
  readonly names: readonly string[];
  /** Whether its first token is there. */
  first: boolean;
}

export interface Served extends ServedOptions {
  /** Texts that errors do not show: clients need not know where things lie. */
  readonly hidden: Hidden;
  readonly underway: Set<Underway>;
  /** llama.cpp's scales, for requests to the base that name no adapters. */
  scales: ReadonlyMap<string, number>;
}

export function createServed(options: ServedOptions): Served {
  const { thread, baseName } = options;
  return { ...options, hidden: [[thread.facts.folder, baseName]], underway: new Set(), scales: new Map() };
}

/** The adapters that a request names, by its model or by llama.cpp's numbers. Throws HttpError 400 and 404. */
export function setOf(
  { registry, baseName, scales, maxAdapters }: Served,
  request: { readonly model?: string | null | undefined; readonly lora?: readonly AdapterScale[] | null | undefined },
): readonly (readonly [name: string, weight: number])[] {
  const model = request.model || baseName;
  const named = (): readonly (readonly [string, number])[] => {
    if (request.lora) return scaled(registry, request.lora);
    if (model === baseName) return [...scales].filter(([, scale]) => scale !== 0);
    const names = adapterNames(model);
    if (names === null)
      throw new HttpError(404, `The model ${JSON.stringify(model)} does not exist.`, "model_not_found");
    return names;
  };
  const set = named();
  if (set.length > maxAdapters) {
    throw new HttpError(400, `${set.length} adapters; this server takes ${maxAdapters} in a request.`);
  }
  return set;
}

/** Adapters by llama.cpp's numbers: their places in the list. Throws HttpError 400. */
export function scaled(registry: Registry, given: readonly AdapterScale[]): (readonly [name: string, scale: number])[] {
  const list = registry.list();
  return given.map(({ id, scale }) => {
    const named = list[id];
    if (!named) throw new HttpError(400, `There is no adapter ${id}; see GET /lora-adapters.`);
    return [named.name, scale] as const;
  });
}

/** The request's body. Throws HttpError 400 for what is no JSON. */
export async function jsonBody(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, `The body is no JSON: ${messageOf(error)}`);
  }
}
