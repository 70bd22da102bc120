/** Every method against PEFT: logits, loss and every gradient of the golden cases, and merging against PEFT's. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { caseErrors, computeLogits, expectWithin, firstBatch, openCase, TOLERANCES } from "../goldens/harness.ts";
import { withMerged } from "./merged.ts";

/** More cases, of other sizes and seeds, when a folder of them is named. */
const more = process.env["LOWRANK_GOLDENS"];
const CASES = more
  ? readdirSync(more).map((name) => join(more, name))
  : [
      "llama-dora",
      "llama-embedding-lora",
      "llama-modules-to-save",
      "gpt2-bias-lora-only",
      "llama-ia3",
      "llama-prompt-tuning",
      "llama-prefix-tuning",
      "bert-prompt-seqcls",
      // Made by generate_cases.py: options that the shared cases lack.
      "gpt2-bias-all",
      "gpt2-dora",
      "gpt2-ia3",
      "gpt2-prefix-tuning",
      "llama-embedding-dora",
      "llama-tied-modules-to-save",
      "llama-tied-saved-embedding",
      "llama-tied-tokens",
      "llama-tied-embedding-lora",
      "llama-loha",
      "llama-lokr",
      "llama-lokr-both",
    ];

test.each(CASES)("%s: logits, loss and every gradient are PEFT's", async (name) => {
  const golden = openCase(name);
  const errors = await caseErrors(golden, { virtual: { prompt: 0, prefix: 0, ...golden.adapter.method.virtual } });
  if (more) console.log(golden.name, errors.logits, errors.loss, Math.max(...Object.values(errors.gradients)));
  expectWithin(errors);
});

test.each(CASES)("%s: the merged model gives the adapter's logits", async (name) => {
  const golden = openCase(name);
  const adapter = golden.adapter;
  if (!adapter.method.mergeable) return;
  const rows = firstBatch(golden);
  const apart = await computeLogits(golden, rows, adapter);
  const merged = await withMerged(adapter, golden.model, golden.trace, (model) =>
    computeLogits({ ...golden, model }, rows, null),
  );
  apart.rows.forEach((row, i) => {
    const worst = row.reduce((largest, value, j) => Math.max(largest, Math.abs(value - merged.rows[i]![j]!)), 0);
    expect(worst).toBeLessThan(TOLERANCES.logits);
  });
});
