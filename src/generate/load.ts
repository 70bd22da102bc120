/** A base in memory that generates: load once, then generate with any adapters. */

import { type Adapter, loadAdapter } from "../adapters/adapter.ts";
import { refuseOtherWeights } from "../adapters/base-check.ts";
import { readPeftFolder } from "../adapters/peft-folder.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { LowrankError, UsageError } from "../errors.ts";
import type { Model } from "../models/open.ts";
import type { QuantType } from "../precision/blocks.ts";
import { atPrecision, type Precision, QUANT_TYPE, refuseOnDevice } from "../precision/precision.ts";
import { openBase, settle } from "../program/setup.ts";
import type { Device, Runtime } from "../runtime/session.ts";
import { endTokens } from "./end-tokens.ts";
import { createEngine } from "./engine.ts";
import { createForms } from "./form.ts";
import { type Completion, type GenerateOptions, generateTokens, withVirtual } from "./generate.ts";
import { type AdapterMode, settleMode } from "./modes.ts";
import { createPrefixCache } from "./prefix-cache.ts";
import { createScheduler } from "./scheduler.ts";
import type { Piece } from "./sequence.ts";
import { type ToolFormat, toolFormatOf } from "./tool-format.ts";

export interface LoadOptions {
  /** Threads to compute with. Default 0: one a core. */
  readonly threads?: number;
  /** What computes. Default "cpu". */
  readonly device?: Device;
  /**
   * Bytes that copies of the weights may take: generation is faster from copies. A model that needs more runs from its
   * mapped file. Default 4 GiB.
   */
  readonly holdBytes?: number;
  /** Completions that are computed together; more wait. Default 32. */
  readonly rows?: number;
  /** Tokens of prompts and completions that those hold together. Default 65536. */
  readonly cacheTokens?: number;
  /** Bytes of finished sequences that are kept for prompts which begin alike. Default 256 MiB; 0 keeps none. */
  readonly prefixBytes?: number;
  /** How adapters meet the base. Default "auto", which is "dynamic": each request has its own. */
  readonly mode?: AdapterMode;
  /** Of the modes "static" and "fuse": the one set that every request has, as PEFT folders with weights. */
  readonly adapters?: readonly (readonly [path: string, weight: number])[];
  /** Of the mode "static-rank": ranks of the adapters of one run together. Default 64. */
  readonly maxRank?: number;
  /** Arithmetic of the base: less memory, and faster. Default fp32. */
  readonly precision?: Precision;
  /** What four bits stand for. Default int4. */
  readonly quantType?: QuantType;
  /** Folder for quantised copies of bases and what is made of GGUF files. Default null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
}

/** A base that writes text; adapters are its own `A`. */
export interface GeneratingBase<A> {
  /** How the model writes calls of tools, told from its chat template; null where it shows none. */
  readonly toolFormat: ToolFormat | null;
  /** An adapter of a PEFT folder, checked against the base. It may be used in any generation, with any weight. */
  adapter(path: string): Promise<A>;
  /** Pieces of a completion as they come; the generator returns the whole. Many may run at once and take turns. */
  generate(options: GenerateOptions<A>): AsyncGenerator<Piece, Completion>;
  /** A whole completion. */
  complete(options: GenerateOptions<A>): Promise<Completion>;
  /** Scores after every token: [tokens, vocabulary], row after row. */
  logits(
    tokenIds: ArrayLike<number>,
    adapters?: readonly (readonly [adapter: A, weight: number])[],
  ): Promise<Float32Array>;
  /** What is being computed. */
  load(): GenerationLoad;
  /** Frees the memory; the base is of no use afterwards. */
  close(): Promise<void>;
}

/** A base on this thread. */
export interface LoadedBase extends GeneratingBase<Adapter> {
  readonly model: Model;
  readonly tokenizer: Tokenizer | null;
}

export interface GenerationLoad {
  /** Completions at work, and those that wait. */
  readonly running: number;
  readonly waiting: number;
  /** Bytes of keys and values. */
  readonly cacheBytes: number;
  /** Prompts whose beginning was there already. */
  readonly prefixHits: number;
}

/** Opens a model by folder, GGUF file or `embedded:NAME`. Throws ModelError for one that does not generate text. */
export async function loadBase(name: string, options: LoadOptions, runtime: Runtime): Promise<LoadedBase> {
  const { threads = 0, holdBytes = 4 * 2 ** 30, rows = 32, cacheTokens = 65536, prefixBytes = 2 ** 28 } = options;
  const { precision = "fp32", quantType = QUANT_TYPE, cacheDir = null } = options;
  const base = openBase(name, cacheDir);
  refuseOnDevice(precision, runtime);
  const settled = settle(base, "causal-lm");
  const { trace } = settled;
  const model = await atPrecision(settled, { precision, quantType, cacheDir, decoding: true }, runtime);
  const open = (path: string): Adapter => {
    const folder = readPeftFolder(path);
    refuseOtherWeights(folder, model);
    return { ...loadAdapter(folder, model, trace), content: folder.content };
  };
  const fixed = (options.adapters ?? []).map(([path, weight]) => [open(path), weight] as const);
  const { mode = "auto", maxRank = 64 } = options;
  if (mode === "fuse" && precision !== "fp32") {
    throw new UsageError(
      `The mode fuse adds to float weights; found the precision ${precision}. Use dynamic, or fp32.`,
    );
  }
  const { fused, setOf } = settleMode(model, trace, { mode, fixed });
  const engine = createEngine({
    model,
    trace,
    runtime,
    session: { threads, prepack: precision === "int4" || precision === "native" },
    // A quantised base is read as it is; a device holds the weights itself.
    holdBytes: precision === "fp32" && !runtime.memory ? holdBytes : 0,
    fused,
    ranks: mode === "static-rank" ? maxRank : null,
  });
  const scheduler = createScheduler(engine, { rows, tokens: cacheTokens });
  const prefixes = createPrefixCache(prefixBytes);
  const ends = endTokens(base);
  const forms = createForms(base, ends);
  const generate = (request: GenerateOptions): AsyncGenerator<Piece, Completion> =>
    generateTokens({ base, engine, scheduler, prefixes, ends, forms, set: setOf(request.adapters ?? []) }, request);
  return {
    model,
    tokenizer: base.tokenizer,
    toolFormat: toolFormatOf(base.tokenizer?.chatTemplate ?? null),
    adapter: async (path) => open(path),
    generate,
    complete: async (request) => {
      const pieces = generate(request);
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) return value;
      }
    },
    logits: async (tokenIds, adapters = []) => {
      const set = setOf(adapters);
      const { prompt } = set.virtual;
      const tokens = withVirtual(Int32Array.from(tokenIds), prompt);
      return (await engine.logits(tokens, set)).subarray(prompt * model.config.vocabularySize);
    },
    load: () => ({
      running: scheduler.running,
      waiting: scheduler.waiting,
      cacheBytes: engine.caches.bytes + prefixes.bytes,
      prefixHits: prefixes.hits,
    }),
    close: async () => {
      await scheduler.stop(new LowrankError("The base was closed."));
      await engine.close();
    },
  };
}
