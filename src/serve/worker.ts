/** The thread that computes: holds the base and the loaded adapters, and answers calls in batches. */

import { parentPort, workerData } from "node:worker_threads";
import type { Adapter } from "../adapters/adapter.ts";
import { ModelError, UsageError } from "../errors.ts";
import type { GenerateOptions } from "../generate/generate.ts";
import { type LoadedBase, loadBase } from "../generate/load.ts";
import type { TokenProbability } from "../generate/sample.ts";
import type { Piece } from "../generate/sequence.ts";
import { nodeRuntime } from "../runtime/node.ts";
import { toWire } from "../wire-error.ts";
import type { EngineSettings, FromEngine, GenerateCall, LoadedFacts, ServedPiece, ToEngine } from "./protocol.ts";

const settings = workerData as EngineSettings;
const post = (message: FromEngine): void => parentPort!.postMessage(message);

/** Where a model tells no limit, as every computed position allows any. */
const LONGEST = 32768;

const adapters = new Map<number, Adapter>();
const calls = new Map<number, AbortController>();

try {
  const { threads, rows, cacheTokens, prefixBytes } = settings;
  const base = await loadBase(settings.model, { threads, rows, cacheTokens, prefixBytes }, nodeRuntime);
  const stated = base.model.rawConfig["max_position_embeddings"];
  const own = base.model.config.maxPositions ?? (typeof stated === "number" ? Math.min(stated, LONGEST) : LONGEST);
  const maxLength = Math.min(settings.maxLength ?? own, own);
  parentPort!.on("message", (message: ToEngine) => void receive(base, maxLength, message));
  post({ kind: "ready", facts: { name: base.model.name, folder: base.model.folder, maxLength } });
} catch (error) {
  post({ kind: "failed", error: toWire(error) });
}

async function receive(base: LoadedBase, maxLength: number, message: ToEngine): Promise<void> {
  switch (message.kind) {
    case "load":
      try {
        const adapter = await base.adapter(message.path);
        post({ kind: "loaded", call: message.call, facts: checked(adapter, message.path) });
        adapters.set(message.adapter, adapter);
      } catch (error) {
        post({ kind: "error", call: message.call, error: toWire(error) });
      }
      break;
    case "drop":
      adapters.delete(message.adapter); // sequences under way keep theirs
      break;
    case "generate":
      await generate(base, maxLength, message.call, message);
      break;
    case "cancel":
      calls.get(message.call)?.abort();
      break;
    case "close":
      await base.close();
      parentPort!.close();
      break;
  }
}

async function generate(
  base: LoadedBase,
  maxLength: number,
  call: number,
  { prompt, options, adapters: used }: GenerateCall,
): Promise<void> {
  const controller = new AbortController();
  calls.set(call, controller);
  try {
    const weighted = used.map(([number, weight]) => [adapters.get(number)!, weight] as const);
    const pieces = base.generate({
      ...prompt,
      ...options,
      adapters: weighted,
      maxLength,
      signal: controller.signal,
    } as GenerateOptions);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) {
        const { promptTokens, completionTokens, finishReason } = value;
        post({ kind: "done", call, completion: { promptTokens, completionTokens, finishReason }, load: base.load() });
        return;
      }
      post({ kind: "piece", call, piece: served(base, value) });
    }
  } catch (error) {
    post({ kind: "error", call, error: toWire(error) });
  } finally {
    calls.delete(call);
  }
}

function served(base: LoadedBase, { text, tokenIds, logprobs }: Piece): ServedPiece {
  const name = (token: number): string => base.tokenizer?.decode([token], { skipSpecial: false }) ?? String(token);
  const named = ({ token, logprob }: TokenProbability): { text: string; logprob: number } => ({
    text: name(token),
    logprob,
  });
  return {
    text,
    tokens: tokenIds.length,
    ...(logprobs ? { logprobs: logprobs.map((each) => ({ ...named(each), top: each.top.map(named) })) } : {}),
  };
}

/** What the adapter takes. Throws ModelError for numbers that are none, UsageError for a rank beyond the limit. */
function checked({ method, tensors }: Adapter, path: string): LoadedFacts {
  let bytes = 0;
  for (const [key, { data }] of tensors) {
    bytes += data.byteLength;
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i]!)) {
        throw new ModelError(`${path}: ${key} holds ${data[i]} at element ${i}. Train or copy the adapter again.`);
      }
    }
  }
  const branches = method.lowRank?.((key) => tensors.get(key)!) ?? null;
  const rank = branches ? Math.max(...branches.map(({ A }) => A.shape[0]!)) : null;
  if (rank !== null && rank > settings.maxRank) {
    throw new UsageError(`${path}: rank ${rank}, this server takes up to ${settings.maxRank} (--max-lora-rank).`);
  }
  return { bytes, rank };
}
