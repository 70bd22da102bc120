/** What the quickstart trains: base, texts and settings. */

import { fileURLToPath } from "node:url";

export const BASE = "embedded:gpt2-tiny";

export interface Lesson {
  readonly name: string;
  readonly description: string;
  /** Folder of examples/quickstart with train.jsonl and valid.jsonl. */
  readonly data: string;
  readonly steps: number;
}

/** Settings that both lessons share: every linear layer at rank 8. */
export const SETTINGS = {
  batchSize: 8,
  lr: 4e-3,
  scheduler: "cosine",
  warmupSteps: 5,
  adapterFields: { r: 8, lora_alpha: 16, target_modules: "all-linear" },
} as const;

export const LESSONS: readonly Lesson[] = [
  { name: "genesis", description: "a style: verses of the King James Bible", data: "genesis", steps: 72 },
  {
    name: "restaurants",
    description: "a task: facts about a restaurant in, a sentence out",
    data: "restaurants",
    steps: 72,
  },
];

/** Continued by every voice: one line that suits either style, and one of the second adapter's tasks. */
export const PROMPTS: readonly string[] = [
  "In the city",
  "Blue Spice : eatType : pub | Blue Spice : food : English | Blue Spice : area : riverside\n",
];

/** A file of a lesson, as the package holds it. */
export function dataFile({ data }: Lesson, part: "train" | "valid"): string {
  return fileURLToPath(new URL(`../../../examples/quickstart/${data}/${part}.jsonl`, import.meta.url));
}
