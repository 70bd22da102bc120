/** The library's `embed()`: vectors of texts, as the model's folder makes them. */

import type { Example } from "../data/example.ts";
import { UsageError } from "../errors.ts";
import { atPrecision, type Precision, QUANT_TYPE } from "../precision/precision.ts";
import { logitsProgram } from "../program/program.ts";
import { createRunner } from "../program/runner.ts";
import { batchFacts, demandTokenizer, openBase, textLength } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { type AdapterChoice, openAdapters, settleWithAdapters, virtualTokens, warnOfBases } from "./adapters.ts";
import { passes } from "./evaluate.ts";
import { normalized } from "./pair-metrics.ts";
import { scoreRows } from "./scores.ts";

export interface EmbedInput {
  /** Hugging Face folder of the base, or embedded:NAME. */
  readonly model: string;
  readonly texts: readonly string[];
  /** Applied together, as a weighted sum. */
  readonly adapters?: readonly AdapterChoice[];
  /** Tokens a text; longer ones are cut. Null: the folder's own limit. */
  readonly maxLength?: number | null;
  readonly threads?: number;
  /** Arithmetic of the base. */
  readonly precision?: Precision;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
  /** Told of what is no error: an adapter that names another base. */
  readonly onWarning?: (message: string) => void;
}

export type EmbedderInput = Omit<EmbedInput, "texts">;

/** An open model that embeds any texts. */
export interface Embedder {
  embed(texts: readonly string[]): Promise<Embeddings>;
  close(): Promise<void>;
}

export interface Embeddings {
  /** One vector a text, in the order given. */
  readonly vectors: readonly Float32Array[];
  readonly dimensions: number;
  /** Real tokens of all texts, after cutting. */
  readonly tokens: number;
}

/** Embeds texts. Pooling, limit and scaling to length 1 are those of a sentence-transformers folder; else the mean of all tokens. */
export async function embedHere(input: EmbedInput, runtime: Runtime): Promise<Embeddings> {
  if (input.texts.length === 0) throw new UsageError("Nothing to embed: give at least one text.");
  const embedder = await openEmbedder(input, runtime);
  try {
    return await embedder.embed(input.texts);
  } finally {
    await embedder.close();
  }
}

/** Opens a model and its adapters for texts that come later, as {@link embedHere} embeds them. */
export async function openEmbedder(input: EmbedderInput, runtime: Runtime): Promise<Embedder> {
  const { model: name, adapters = [], maxLength = null, threads = 2, precision = "fp32", cacheDir = null } = input;
  const base = openBase(name);
  const tokenizer = demandTokenizer(base);
  const opened = openAdapters(adapters);
  const { setup: settled, loaded } = settleWithAdapters(base, opened, "sentence-embedding");
  warnOfBases(opened, base, name, input.onWarning);
  const setup = {
    ...settled,
    model: await atPrecision(settled, { precision, quantType: QUANT_TYPE, cacheDir }, runtime),
  };
  const limit = Math.min(maxLength ?? Number.POSITIVE_INFINITY, textLength(base.model));
  const { model, task } = setup;
  const facts = batchFacts(setup, virtualTokens(loaded.mounted));
  const runner = createRunner({
    runtime,
    session: { threads },
    build: (shape) => logitsProgram({ model, task, adapters: loaded.mounted, shape }),
  });
  const embed = async (texts: readonly string[]): Promise<Embeddings> => {
    const examples = texts.map((text, i): Example => {
      const { ids, typeIds } = tokenizer.encodePair(text, null, limit);
      if (ids.length === 0) throw new UsageError(`Text ${i + 1} has no tokens. Leave it away.`);
      return { ids, typeIds, line: i + 1 };
    });
    const vectors = new Array<Float32Array>(texts.length);
    for (const pass of passes(examples)) {
      const rows = await scoreRows(runner, pass, facts, loaded.tensors);
      pass.forEach(({ line }, i) => {
        const { scores } = rows[i]!;
        vectors[line - 1] = model.pooling.normalize ? normalized(scores) : scores;
      });
    }
    const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
    return { vectors, dimensions: vectors[0]!.length, tokens };
  };
  return { embed, close: () => runner.close() };
}
