/** The table of `lowrank models`: made from the code, shown in docs/models.md. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { architectureRows, modelsText } from "../../src/cli/models-table.ts";

const rows = architectureRows();

test("docs/models.md shows the table", () => {
  const page = readFileSync(new URL("../../docs/models.md", import.meta.url), "utf8");
  expect(page).toContain(modelsText(rows));
});

test("what does not fit is left out: no prefix for DeBERTa, no biases in Llama, no vocabulary scores in both directions", () => {
  const row = (name: string): (typeof rows)[number] => rows.find(({ modelType }) => modelType === name)!;
  expect(row("deberta").methods).not.toContain("prefix-tuning");
  expect(row("bert").methods).toContain("prefix-tuning");
  expect(row("llama").methods).not.toContain("bitfit");
  expect(row("qwen2").methods).toContain("bitfit");
  expect(row("bert").tasks).not.toContain("causal-lm");
  expect(row("xlm-roberta").tasks).toContain("multi-label-classification");
});
