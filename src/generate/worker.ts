/** The library's thread that computes: holds one base and the adapters loaded for it. */

import { workerData } from "node:worker_threads";
import type { Adapter } from "../adapters/adapter.ts";
import { runtimeOn } from "../runtime/devices.ts";
import type { WeightedAdapter } from "./adapter-set.ts";
import type { BaseCalls, BaseFacts, BaseSettings, NumberedAdapters } from "./base-thread.ts";
import { loadBase } from "./load.ts";
import { answerCalls, emitAll } from "./thread-calls.ts";

await answerCalls<BaseFacts, BaseCalls>(async () => {
  const { name, options } = workerData as BaseSettings;
  const base = await loadBase(name, options, runtimeOn(options.device ?? "cpu"));
  const loaded = new Map<number, Adapter>();
  const weighted = (adapters: NumberedAdapters): WeightedAdapter[] =>
    adapters.map(([number, weight]) => [loaded.get(number)!, weight]);
  return {
    facts: { load: base.load(), toolFormat: base.toolFormat },
    answers: {
      load: async ({ adapter, path }) => {
        loaded.set(adapter, await base.adapter(path));
        return null;
      },
      drop: (adapter) => {
        loaded.delete(adapter); // sequences under way keep theirs
        return null;
      },
      generate: async ({ request, adapters }, { signal, emit }) => {
        const pieces = base.generate({ ...request, adapters: weighted(adapters), signal });
        const completion = await emitAll(pieces, emit);
        return { completion, load: base.load() };
      },
      logits: ({ tokenIds, adapters }) => base.logits(tokenIds, weighted(adapters)),
    },
    close: () => base.close(),
  };
});
