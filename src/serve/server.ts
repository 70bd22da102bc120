/** The server: a base and its adapters behind HTTP, from the start to an end that answers what is under way. */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { UsageError } from "../errors.ts";
import type { AdapterMode } from "../generate/modes.ts";
import { isAdapterName } from "../generate/set-names.ts";
import type { Precision } from "../precision/precision.ts";
import { createAdmission } from "./admission.ts";
import { createApp } from "./app.ts";
import { isLoopback, keyCheck } from "./auth.ts";
import { startEngineThread } from "./engine-thread.ts";
import { createMetrics } from "./metrics.ts";
import { createRegistry } from "./registry.ts";

export interface ServeOptions {
  /** A Hugging Face folder, or embedded:NAME. */
  readonly model: string;
  /** Name of the base for clients; null: the model's last path segment. */
  readonly servedName: string | null;
  /** Weights count in the modes "static" and "fuse", which apply all of these to every request. */
  readonly adapters: readonly { readonly name: string; readonly path: string; readonly weight: number }[];
  readonly loraMode: AdapterMode;
  /** Arithmetic of the base. */
  readonly precision: Precision;
  /** Folder for quantised copies of bases and what is made of GGUF files; null: ~/.cache/lowrank. */
  readonly cacheDir: string | null;
  /** Folder whose adapters are found by name; null for none. */
  readonly adaptersDir: string | null;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly apiKeys: readonly string[];
  /** For routes that load and unload adapters; empty: the API keys do for them, too. */
  readonly adminKeys: readonly string[];
  readonly allowRuntimeLora: boolean;
  readonly threads: number;
  /** Completions computed together, and completions that may wait beside them. */
  readonly maxBatch: number;
  readonly maxQueue: number;
  /** Tokens that the completions under way hold together. */
  readonly cacheTokens: number;
  /** Bytes of finished prompts kept for others that begin alike. */
  readonly prefixBytes: number;
  /** Bytes of adapters kept in memory. */
  readonly adapterBytes: number;
  /** Prompt and completion together, in tokens; null: what the model takes. */
  readonly maxModelLen: number | null;
  readonly maxLoraRank: number;
  /** Adapters in one request. */
  readonly maxLoras: number;
  readonly maxBodyBytes: number;
  /** Seconds that a request may take, and that the end waits for those under way. */
  readonly requestTimeout: number;
  readonly drainTimeout: number;
}

export const SERVE_DEFAULTS = {
  host: "127.0.0.1",
  port: 8080,
  loraMode: "auto",
  precision: "fp32",
  cacheDir: null,
  maxBatch: 32,
  maxQueue: 256,
  cacheTokens: 65536,
  prefixBytes: 268435456,
  adapterBytes: 1073741824,
  maxLoraRank: 512,
  maxLoras: 16,
  maxBodyBytes: 4194304,
  requestTimeout: 600,
  drainTimeout: 30,
} as const;

export interface RunningServer {
  readonly url: string;
  readonly models: readonly string[];
  /** Answers no new requests, waits for those under way, and frees everything. */
  stop(): Promise<void>;
  /** Settles when the computing thread has failed: nothing can be answered any more. */
  readonly crashed: Promise<Error>;
}

/** Opens the base and its adapters, then listens. Throws UsageError for options that cannot work. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { host, apiKeys, adminKeys, adapters } = options;
  if (apiKeys.length === 0 && !isLoopback(host)) {
    throw new UsageError(`Without --api-key the server listens on loopback only; found --host ${host}.`);
  }
  for (const { name } of adapters) {
    if (!isAdapterName(name)) {
      throw new UsageError(
        `--adapter: ${name} is no name for clients: needed letters, digits, _ . - from a letter or digit on.`,
      );
    }
  }
  const fixing = options.loraMode === "static" || options.loraMode === "fuse";
  if (fixing && (options.adaptersDir !== null || options.allowRuntimeLora)) {
    throw new UsageError(
      `--lora-mode ${options.loraMode} has one set for all requests: leave --adapters-dir and --allow-runtime-lora out.`,
    );
  }
  const fixed = fixing ? adapters.map(({ path, weight }) => [path, weight] as const) : [];
  const {
    model,
    threads,
    precision,
    cacheDir,
    maxBatch: rows,
    cacheTokens,
    prefixBytes,
    maxModelLen: maxLength,
    maxLoraRank: maxRank,
  } = options;
  const thread = await startEngineThread({
    ...{ model, threads, precision, cacheDir, rows, cacheTokens, prefixBytes, maxLength, maxRank },
    mode: options.loraMode,
    fixed,
  });
  try {
    const registry = createRegistry({ thread, folder: options.adaptersDir, limit: options.adapterBytes });
    const baseName = options.servedName ?? thread.facts.name;
    for (const { name, path } of fixing ? [] : adapters) {
      if (name === baseName)
        throw new UsageError(`--adapter: ${name} is the base's name. Give the adapter another: NAME=PATH.`);
      await registry.add(name, path);
    }
    const admission = createAdmission(options.maxBatch + options.maxQueue);
    const app = createApp({
      thread,
      registry,
      admission,
      metrics: createMetrics(),
      baseName,
      key: apiKeys.length > 0 ? keyCheck(apiKeys) : null,
      adminKey: adminKeys.length > 0 ? keyCheck(adminKeys) : null,
      runtimeAdapters: options.allowRuntimeLora,
      adaptersDir: options.adaptersDir,
      maxBodyBytes: options.maxBodyBytes,
      maxAdapters: options.maxLoras,
      requestSeconds: options.requestTimeout,
    });
    const server = await listen(app.fetch, host, options.port);
    const { port } = server.address() as AddressInfo;
    return {
      url: `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
      models: [baseName, ...registry.list().map(({ name }) => name)],
      crashed: thread.crashed,
      stop: async () => {
        const patience = new Promise<void>((resolve) => {
          setTimeout(resolve, options.drainTimeout * 1000).unref();
        });
        await Promise.race([admission.drain(), patience]);
        server.close();
        server.closeIdleConnections();
        server.closeAllConnections();
        await thread.close();
      },
    };
  } catch (error) {
    await thread.close();
    throw error;
  }
}

/** Times and sizes that slow or greedy clients run into. */
const HEADER_SECONDS = 20;
const MOST_CONNECTIONS = 2048;

function listen(fetch: Parameters<typeof serve>[0]["fetch"], hostname: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = serve(
      {
        fetch,
        hostname,
        port,
        serverOptions: { maxHeaderSize: 16384, headersTimeout: HEADER_SECONDS * 1000, requestTimeout: 60_000 },
      },
      () => resolve(server),
    ) as Server;
    server.maxConnections = MOST_CONNECTIONS;
    server.once("error", (error: NodeJS.ErrnoException) => {
      const taken = error.code === "EADDRINUSE" ? ` Another program has it; --port 0 takes a free one.` : "";
      reject(new UsageError(`Cannot listen on ${hostname}:${port}: ${error.message}.${taken}`));
    });
  });
}
