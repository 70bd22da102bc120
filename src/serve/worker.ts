/** The thread that computes: holds the base and the loaded adapters, and answers calls. */

import { workerData } from "node:worker_threads";
import { answerCalls, emitAll } from "../generate/thread-calls.ts";
import { locateModel } from "../models/locate.ts";
import { openModel } from "../models/open.ts";
import { nodeRuntime } from "../runtime/node.ts";
import { openEmbeddingEngine } from "./embedding-engine.ts";
import type { EngineCalls, EngineFacts, EngineSettings } from "./protocol.ts";
import type { ServedEngine } from "./served-engine.ts";
import { openTextEngine } from "./text-engine.ts";

const settings = workerData as EngineSettings;

await answerCalls<EngineFacts, EngineCalls>(async () => {
  const engine = await openEngine();
  return {
    facts: engine.facts,
    answers: {
      load: ({ adapter, path }) => engine.loadAdapter(adapter, path),
      drop: (adapter) => {
        engine.dropAdapter(adapter);
        return null;
      },
      generate: async (call, { signal, emit }) => {
        const completion = await emitAll(engine.generate(call, signal), emit);
        return { completion, load: engine.load() };
      },
      embed: ({ texts, adapters }) => engine.embed(texts, adapters),
    },
    close: () => engine.close(),
  };
});

/** Whatever writes text does; other models embed. */
async function openEngine(): Promise<ServedEngine> {
  if (!settings.model.endsWith(".gguf")) {
    const model = openModel(locateModel(settings.model));
    if (!model.architecture.heads["causal-lm"]) return openEmbeddingEngine(settings, model, nodeRuntime);
  }
  return openTextEngine(settings, nodeRuntime);
}
