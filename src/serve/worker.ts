/** The thread that computes: holds the base and the loaded adapters, and answers calls. */

import { parentPort, workerData } from "node:worker_threads";
import { locateModel } from "../models/locate.ts";
import { openModel } from "../models/open.ts";
import { nodeRuntime } from "../runtime/node.ts";
import { toWire } from "../wire-error.ts";
import { openEmbeddingEngine } from "./embedding-engine.ts";
import type { EngineSettings, FromEngine, GenerateCall, ToEngine } from "./protocol.ts";
import type { ServedEngine } from "./served-engine.ts";
import { openTextEngine } from "./text-engine.ts";

const settings = workerData as EngineSettings;
const post = (message: FromEngine): void => parentPort!.postMessage(message);
const calls = new Map<number, AbortController>();

try {
  const engine = await openEngine();
  parentPort!.on("message", (message: ToEngine) => void receive(engine, message));
  post({ kind: "ready", facts: engine.facts });
} catch (error) {
  post({ kind: "failed", error: toWire(error) });
}

/** Whatever writes text does; other models embed. */
async function openEngine(): Promise<ServedEngine> {
  if (!settings.model.endsWith(".gguf")) {
    const model = openModel(locateModel(settings.model));
    if (!model.architecture.heads["causal-lm"]) return openEmbeddingEngine(settings, model, nodeRuntime);
  }
  return openTextEngine(settings, nodeRuntime);
}

async function receive(engine: ServedEngine, message: ToEngine): Promise<void> {
  switch (message.kind) {
    case "load":
      await answer(message.call, async () => ({
        kind: "loaded",
        call: message.call,
        facts: await engine.loadAdapter(message.adapter, message.path),
      }));
      break;
    case "drop":
      engine.dropAdapter(message.adapter);
      break;
    case "generate":
      await answer(message.call, () => generate(engine, message.call, message));
      break;
    case "embed":
      await answer(message.call, async () => {
        const { vectors, tokens } = await engine.embed(message.texts, message.adapters);
        return { kind: "embedded", call: message.call, vectors, tokens };
      });
      break;
    case "cancel":
      calls.get(message.call)?.abort();
      break;
    case "close":
      await engine.close();
      parentPort!.close();
      break;
  }
}

async function answer(call: number, work: () => Promise<FromEngine>): Promise<void> {
  try {
    post(await work());
  } catch (error) {
    post({ kind: "error", call, error: toWire(error) });
  }
}

async function generate(engine: ServedEngine, call: number, request: GenerateCall): Promise<FromEngine> {
  const controller = new AbortController();
  calls.set(call, controller);
  try {
    const pieces = engine.generate(request, controller.signal);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return { kind: "done", call, completion: value, load: engine.load() };
      post({ kind: "piece", call, piece: value });
    }
  } finally {
    calls.delete(call);
  }
}
