/** `lowrank serve` */

import { UsageError } from "../../errors.ts";
import { ADAPTER_MODES, type AdapterMode } from "../../generate/modes.ts";
import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import type { Output } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Serve a model and its adapters over HTTP, as OpenAI's API",
  usage: "--model DIR [--adapter NAME=PATH …] [--adapters-dir DIR] [options]",
  events: true,
  flags: {
    model: { type: "string", value: "DIR", required: true, help: "Base: a Hugging Face folder, or embedded:NAME" },
    servedModelName: { type: "string", value: "NAME", help: "What clients call the base (its last path segment)" },
    adapter: { type: "repeated", value: "NAME=PATH", help: "A PEFT folder that clients use by its name as the model" },
    adaptersDir: { type: "string", value: "DIR", help: "Folder of adapters that are loaded when a request names them" },
    host: { type: "string", help: "Address to listen on; without a key, loopback only" },
    port: { type: "integer", help: "Port to listen on; 0 takes a free one" },
    apiKey: {
      type: "repeated",
      value: "KEY",
      help: "Key that clients must send; several may be given (LOWRANK_API_KEY)",
    },
    adminKey: { type: "repeated", value: "KEY", help: "Key for loading and unloading adapters (the API keys)" },
    allowRuntimeLora: { type: "boolean", help: "Let clients load and unload adapters (vLLM's routes)" },
    loraMode: {
      type: "string",
      help: "How adapters meet the base; static and fuse apply all --adapter to every request",
      choices: ADAPTER_MODES,
    },
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS },
    maxBatch: { type: "integer", help: "Completions computed together" },
    maxQueue: { type: "integer", help: "Completions that may wait; more are answered with 429" },
    cacheTokens: { type: "integer", help: "Tokens of prompts and completions in memory" },
    prefixBytes: { type: "integer", help: "Bytes of finished prompts kept for others that begin alike" },
    adapterBytes: { type: "integer", help: "Bytes of adapters in memory; the least recently used leave" },
    maxModelLen: { type: "integer", help: "Tokens of prompt and completion together (the model's)" },
    maxLoraRank: { type: "integer", help: "Highest rank of an adapter" },
    maxLoras: { type: "integer", help: "Adapters in one request" },
    maxBodyBytes: { type: "integer", help: "Longest body of a request" },
    requestTimeout: { type: "number", help: "Seconds that a request may take" },
    drainTimeout: { type: "number", help: "Seconds that requests under way are waited for at the end" },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  defaults: async () => ({ ...(await import("../../serve/server.ts")).SERVE_DEFAULTS }),
  notes:
    "A request's model is an adapter's name, several as a@0.7,b@0.3, or the base's name.\n" +
    "SIGTERM and Ctrl-C end the server when the requests under way are answered.",
  run: async ({ flags, output }) => {
    const { startServer, SERVE_DEFAULTS } = await import("../../serve/server.ts");
    const { servedModelName = null, adapter, adaptersDir = null, apiKey, adminKey = [], ...rest } = flags;
    const {
      maxModelLen = null,
      allowRuntimeLora = environmentAllows(),
      threads = defaultThreads(),
      loraMode = SERVE_DEFAULTS.loraMode,
      precision = SERVE_DEFAULTS.precision,
      ...limits
    } = rest;
    const own = process.env["LOWRANK_API_KEY"];
    const apiKeys = apiKey ?? (own ? [own] : []);
    if ([...apiKeys, ...adminKey].includes(""))
      throw new UsageError("--api-key is empty. Give it a key, or leave it out.");
    const fixing = flags.loraMode === "static" || flags.loraMode === "fuse";
    const adapters = adapterArguments(adapter).map(({ name, path, weight }) => {
      if (weight !== 1 && !fixing)
        throw new UsageError(`--adapter ${name}: requests give weights, as "model": "${name}@${weight}".`);
      return { name, path, weight };
    });
    const server = await startServer({
      ...SERVE_DEFAULTS,
      ...limits,
      ...{ servedName: servedModelName, adapters, adaptersDir, apiKeys, adminKeys: adminKey },
      ...{ allowRuntimeLora, maxModelLen, threads, loraMode: loraMode as AdapterMode },
      ...{ precision: precision as Precision, cacheDir: cacheFolder() },
    });
    output.event({ event: "listening", url: server.url, models: server.models });
    if (!output.json) output.line(`${server.url} serves ${server.models.join(", ")}`);
    const crash = await Promise.race([ended(output), server.crashed]);
    await server.stop();
    if (crash instanceof Error) throw crash;
    return 0;
  },
});

export default command;

/** vLLM's own switch does as well. */
function environmentAllows(): boolean {
  return /^(1|true)$/i.test(process.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] ?? "");
}

/** The first signal to end; the second ends at once. */
function ended(output: Output): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (asked) process.exit(130);
        asked = true;
        output.note("Answering what is under way. Again to quit at once.");
        resolve();
      });
    }
  });
}
