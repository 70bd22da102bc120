/** What a model writes for the prompts of a data file, beside what people wrote. */

import { readRows } from "../data/read-rows.ts";
import { DataError } from "../errors.ts";
import type { WeightedAdapter } from "./adapter-set.ts";
import type { CompletionOptions } from "./generate.ts";
import type { LoadedBase } from "./load.ts";

export interface CompletionsInput {
  readonly base: LoadedBase;
  readonly adapters: readonly WeightedAdapter[];
  /** Rows of {"prompt", "completion"}; those of one prompt are its references. */
  readonly file: string;
  /** Most tokens of a completion. */
  readonly maxTokens: number;
  /** Beams and their rules; one beam is greedy. */
  readonly search: Pick<CompletionOptions, "beams" | "lengthPenalty" | "noRepeatNgram">;
  /** Prompts to take, from the first; null: all. */
  readonly limit: number | null;
  onProgress?(done: number, total: number): void;
}

export interface WrittenText {
  readonly prompt: string;
  readonly text: string;
  readonly references: readonly string[];
}

/** Completions under way at a time: the engine decodes them together. */
const TOGETHER = 8;

/** The most probable completions of every prompt, in the order of the file. Throws DataError for rows of another format. */
export async function writeCompletions(input: CompletionsInput): Promise<WrittenText[]> {
  const { base, adapters, file, maxTokens, search, limit, onProgress } = input;
  const prompts = [...referencesOf(file)].slice(0, limit ?? undefined);
  const written: WrittenText[] = [];
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < prompts.length; at = next++) {
      const [prompt, references] = prompts[at]!;
      const { text } = await base.complete({ prompt, adapters, maxTokens, temperature: 0, ...search });
      written[at] = { prompt, text: text.trim(), references };
      onProgress?.(++done, prompts.length);
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, work));
  return written;
}

function referencesOf(file: string): Map<string, string[]> {
  const byPrompt = new Map<string, string[]>();
  for (const { line, value } of readRows(file)) {
    const { prompt, completion } = value;
    if (typeof prompt !== "string" || typeof completion !== "string") {
      throw new DataError(`${file}:${line}: needed {"prompt": "…", "completion": "…"} to generate and compare.`);
    }
    byPrompt.set(prompt, [...(byPrompt.get(prompt) ?? []), completion.trim()]);
  }
  return byPrompt;
}
