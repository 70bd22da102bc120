/** Text from a base with any adapters, as the computing thread serves it. */

import type { Adapter } from "../adapters/adapter.ts";
import { ModelError, UsageError } from "../errors.ts";
import type { GenerateOptions } from "../generate/generate.ts";
import { type LoadedBase, loadBase } from "../generate/load.ts";
import type { TokenProbability } from "../generate/sample.ts";
import type { Piece } from "../generate/sequence.ts";
import type { Runtime } from "../runtime/session.ts";
import type { EngineSettings, GenerateCall, LoadedFacts, ServedCompletion, ServedPiece } from "./protocol.ts";
import { refusing, type ServedEngine } from "./served-engine.ts";

/** Where a model tells no limit, as every computed position allows any. */
const LONGEST = 32768;

export async function openTextEngine(settings: EngineSettings, runtime: Runtime): Promise<ServedEngine> {
  const { threads, rows, cacheTokens, prefixBytes, precision = "fp32", cacheDir = null } = settings;
  const { mode = "auto", fixed: adapters = [], maxRank } = settings;
  const options = { threads, rows, cacheTokens, prefixBytes, precision, cacheDir, mode, adapters, maxRank };
  const base = await loadBase(settings.model, options, runtime);
  const loaded = new Map<number, Adapter>();
  const { config, rawConfig, name, folder } = base.model;
  const stated = rawConfig["max_position_embeddings"];
  const own = config.maxPositions ?? (typeof stated === "number" ? Math.min(stated, LONGEST) : LONGEST);
  const maxLength = Math.min(settings.maxLength ?? own, own);
  return {
    facts: { name, folder, maxLength, kind: "text", toolFormat: base.toolFormat },
    load: () => base.load(),
    async loadAdapter(number, path) {
      const adapter = await base.adapter(path);
      const facts = { ...checked(adapter, path, maxRank), content: adapter.content! };
      loaded.set(number, adapter);
      return facts;
    },
    dropAdapter: (number) => {
      loaded.delete(number); // sequences under way keep theirs
    },
    async *generate({ prompt, options: sampling, adapters: used }: GenerateCall, signal) {
      const weighted = used.map(([number, weight]) => [loaded.get(number)!, weight] as const);
      const request = { ...prompt, ...sampling, adapters: weighted, maxLength, signal } as GenerateOptions;
      const pieces = base.generate(request);
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) {
          const { promptTokens, completionTokens, finishReason } = value;
          return { promptTokens, completionTokens, finishReason } satisfies ServedCompletion;
        }
        yield served(base, value);
      }
    },
    embed: refusing(`${name} writes text; embeddings need a sentence model.`),
    close: () => base.close(),
  };
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
function checked({ method, tensors }: Adapter, path: string, maxRank: number): Omit<LoadedFacts, "content"> {
  let bytes = 0;
  for (const [key, { data }] of tensors) {
    bytes += data.byteLength;
    if (allFinite(data)) continue;
    const at = data.findIndex((value) => !Number.isFinite(value));
    throw new ModelError(`${path}: ${key} holds ${data[at]} at element ${at}. Train or copy the adapter again.`);
  }
  const branches = method.lowRank?.((key) => tensors.get(key)!) ?? null;
  const rank = branches ? Math.max(...branches.map(({ A }) => A.shape[0]!)) : null;
  if (rank !== null && rank > maxRank) {
    throw new UsageError(`${path}: rank ${rank}, this server takes up to ${maxRank} (--max-lora-rank).`);
  }
  return { bytes, rank };
}

/** Zero times what is no number, or infinite, is no number. */
function allFinite(data: Float32Array): boolean {
  let zero = 0;
  for (let i = 0; i < data.length; i++) zero += data[i]! * 0;
  return zero === 0;
}
