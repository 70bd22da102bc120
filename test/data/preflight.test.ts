import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Dataset, loadDataset } from "../../src/data/dataset.ts";
import { preflight } from "../../src/data/preflight.ts";
import { templateHash, templateWarning, writeProvenance } from "../../src/data/provenance.ts";
import { splitDataset } from "../../src/data/split.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";

const temporary = mkdtempSync(join(tmpdir(), "lowrank-preflight-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));
const llama = loadTokenizer(join(import.meta.dirname, "fixtures/llama"))!;

function load(rows: readonly unknown[], maxLength = 1024): Dataset {
  const path = join(temporary, "data.jsonl");
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return loadDataset(path, {
    task: undefined,
    tokenizer: llama,
    endId: llama.endId,
    maxLength,
    maskPrompt: true,
    vocabularySize: llama.vocabularySize,
    maxPositions: null,
  });
}
const options = { tokenizer: llama, endId: llama.endId, maxLength: 1024 };

test("counts, the longest row, and a row whose pieces join to its text", () => {
  const data = load([
    { prompt: "hello", completion: " the dog 漢" },
    { prompt: "the quick brown fox", completion: " jumps over" },
  ]);
  const report = preflight(data, options);
  const longest = data.examples[1]!.ids.length;
  expect(report).toMatchObject({
    format: "prompt-completion",
    rows: 2,
    longestRow: { line: 2, tokens: longest },
    doubts: [],
  });
  expect(report.targetShare).toBe(data.statistics.targetTokens / data.statistics.tokens);
  const { tokens, more, line } = report.sample;
  expect([line, more]).toEqual([1, 0]);
  const textOf = (target: boolean) => tokens.flatMap((token) => (token.target === target ? [token.text] : [])).join("");
  expect([textOf(false), textOf(true)]).toEqual(["<s> hello", "  the dog 漢</s>"]);
  const second = preflight(data, { ...options, line: 2, limit: 3 }).sample;
  expect([second.line, second.tokens.length, second.more]).toEqual([2, 3, longest - 3]);
});

test("doubts: rows cut, and no end token among the targets", () => {
  const { doubts } = preflight(load([{ text: "the quick brown fox jumps" }], 3), { ...options, maxLength: 3 });
  expect(doubts[0]).toMatch(/^1 of 1 rows were cut at 3 tokens/);
  expect(doubts[1]).toMatch(/^No row has the end token \(id 2\) as a target/);
});

test("a split is the seed's, complete, in order, with numbers of its own", () => {
  const rows = Array.from({ length: 20 }, (_, i) => ({ text: "hello ".repeat(i + 1) }));
  const data = load(rows, 12);
  const { train, held } = splitDataset(data, 0.2, 7);
  const lines = ({ examples }: Dataset) => examples.map(({ line }) => line);
  expect(held.examples.length).toBe(4);
  expect([...lines(train), ...lines(held)].toSorted((a, b) => a - b)).toEqual(rows.map((_, i) => i + 1));
  expect(lines(train)).toEqual(lines(train).toSorted((a, b) => a - b));
  expect(lines(splitDataset(data, 0.2, 7).held)).toEqual(lines(held));
  expect(lines(splitDataset(data, 0.2, 8).held)).not.toEqual(lines(held));
  for (const key of ["rows", "tokens", "targetTokens", "truncatedRows"] as const) {
    expect(train.statistics[key] + held.statistics[key]).toBe(data.statistics[key]);
  }
  expect(splitDataset(data, 0.001, 0).held.examples.length).toBe(1);
  expect(() => splitDataset(load([{ text: "a" }]), 0.5, 0)).toThrow(/One row cannot be split/);
});

test("an adapter remembers its chat template and end token", () => {
  const base = { name: "b", hash: "h" };
  const common = {
    base,
    data: { file: "f", hash: "h", rows: 1, format: "messages" },
    evalData: null,
    task: "causal-lm" as const,
    classes: null,
  };
  expect(templateWarning(temporary, llama)).toBeNull();
  const mine = { templateHash: templateHash(llama.chatTemplate), templateUsed: true, endId: llama.endId };
  writeProvenance(temporary, { ...common, ...mine });
  expect(templateWarning(temporary, llama)).toBeNull();
  expect(templateWarning(temporary, { ...llama, chatTemplate: "other" })).toMatch(/trained with another chat template/);
  expect(templateWarning(temporary, { ...llama, endId: 5 })).toMatch(/trained with the end token 2, the base's is 5/);
  writeProvenance(temporary, { ...common, ...mine, templateUsed: false });
  expect(templateWarning(temporary, { ...llama, chatTemplate: "other" })).toBeNull();
});
