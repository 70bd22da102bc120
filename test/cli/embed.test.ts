/** Sentence embeddings and their training against PyTorch, transformers and PEFT (test/evaluate/make_pairs.py). */

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { inScratch, lines, lowrank, tensorsOf } from "./lowrank.ts";

interface Trained {
  readonly rows: readonly Record<string, unknown>[];
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly embeddings: readonly number[];
}

const FOLDER = fileURLToPath(new URL("../evaluate/pairs", import.meta.url));
const MODEL = join(FOLDER, "model");
const reference = JSON.parse(readFileSync(join(FOLDER, "pairs.json"), "utf8")) as {
  readonly texts: readonly string[];
  readonly pooled: Readonly<Record<string, readonly number[]>>;
  readonly ranked: Trained;
  readonly scored: Trained;
};

async function embedded(model: string, ...options: readonly string[]): Promise<number[]> {
  const texts = reference.texts.flatMap((text) => ["--text", text]);
  const { events, stderr } = await lowrank("embed", "--model", model, ...texts, ...options, "--json");
  expect(stderr).toBe("");
  return (events[0]!["embeddings"] as number[][]).flat();
}

function expectClose(got: readonly number[], wanted: readonly number[], limit: number): void {
  expect(got).toHaveLength(wanted.length);
  got.forEach((value, i) => {
    expect(Math.abs(value - wanted[i]!)).toBeLessThan(limit);
  });
}

/** The model with sentence-transformers' files beside it. */
function sentenceFolder(folder: string, mode: string, ...more: readonly string[]): string {
  const path = join(folder, mode);
  cpSync(MODEL, path, { recursive: true });
  const modules = ["Transformer", "Pooling", ...more].map((type, i) => ({
    type: `sentence_transformers.models.${type}`,
    path: i === 1 ? "1_Pooling" : "",
  }));
  mkdirSync(join(path, "1_Pooling"));
  writeFileSync(join(path, "modules.json"), JSON.stringify(modules));
  writeFileSync(join(path, "1_Pooling", "config.json"), JSON.stringify({ [`pooling_mode_${mode}`]: true }));
  return path;
}

describe("embed", () => {
  test.each(Object.entries(reference.pooled))("pools as sentence-transformers does by %s", (mode, vectors) =>
    inScratch(async (folder) => {
      expectClose(await embedded(sentenceFolder(folder, mode)), vectors, 1e-5);
    }),
  );

  test("takes the mean of all tokens without those files, reads rows, scales to length 1, writes a file", () =>
    inScratch(async (folder) => {
      const mean = reference.pooled["mean_tokens"]!;
      expectClose(await embedded(MODEL), mean, 1e-5);
      const rows = lines(
        folder,
        "rows.jsonl",
        reference.texts.map((sentence) => ({ sentence })),
      );
      const out = join(folder, "vectors.safetensors");
      const model = sentenceFolder(folder, "mean_tokens", "Normalize");
      const { events } = await lowrank("embed", "--model", model, "--data", rows, "--out", out, "--json");
      expect(events[0]).toEqual({ texts: 5, dimensions: 16, tokens: expect.any(Number), out });
      const lengths = reference.texts.map((_, i) => Math.hypot(...mean.slice(16 * i, 16 * i + 16)));
      expectClose(
        Array.from(tensorsOf(out).get("embeddings")!),
        mean.map((value, i) => value / lengths[Math.floor(i / 16)]!),
        1e-5,
      );
    }));

  test("refuses what it cannot do, by name", () =>
    inScratch(async (folder) => {
      const run = (model: string): ReturnType<typeof lowrank> => lowrank("embed", "--model", model, "--text", "a");
      expect((await run(sentenceFolder(folder, "max_tokens"))).stderr).toMatch(
        /pooling by max_tokens is not supported/,
      );
      expect((await run(sentenceFolder(folder, "cls_token", "Dense"))).stderr).toMatch(
        /the module Dense is not supported/,
      );
      expect(await lowrank("embed", "--model", MODEL)).toMatchObject({ code: 2 });
    }));
});

test.each([
  ["ranked", "sentence-embedding"],
  ["scored", "sentence-similarity"],
] as const)("%s rows: losses and trained adapter are those of PyTorch and PEFT", (name, task) =>
  inScratch(async (folder) => {
    const { rows, losses, norms, embeddings } = reference[name];
    const data = lines(folder, "data.jsonl", rows);
    const out = join(folder, "out");
    const options = [
      "--batch-size",
      "3",
      "--max-steps",
      "4",
      "--lr",
      "5e-3",
      "--scheduler",
      "constant",
      "--weight-decay",
      "0.01",
    ];
    const given = ["--model", MODEL, "--data", data, "--out", out, "--init-adapter", join(FOLDER, "adapter")];
    const { events, stderr } = await lowrank("train", ...given, ...options, "--no-shuffle", "--json");
    expect(stderr).toBe("");
    expect(events[0]).toMatchObject({ task, rows: 12, targetTokens: 12 });
    const steps = events.filter(({ event }) => event === "step");
    steps.forEach(({ loss, gradNorm }, i) => {
      expect(Math.abs(Number(loss) / losses[i]! - 1)).toBeLessThan(2e-5);
      expect(Math.abs(Number(gradNorm) / norms[i]! - 1)).toBeLessThan(1e-4);
    });
    expect(steps).toHaveLength(4);
    // The file has PEFT's names for a base model without a head, and is read again.
    expect([...tensorsOf(join(out, "adapter_model.safetensors")).keys()]).toEqual([
      ...tensorsOf(join(FOLDER, "adapter", "adapter_model.safetensors")).keys(),
    ]);
    expectClose(await embedded(MODEL, "--adapter", out), embeddings, 2e-4);
    const measured = await lowrank("eval", "--model", MODEL, "--adapter", out, "--data", data, "--json");
    const metric = name === "ranked" ? "mrr" : "spearman";
    expect(measured.events[0]).toMatchObject({ rows: 12, loss: expect.any(Number), [metric]: expect.any(Number) });
  }),
);

test("rows are checked: one format a file, and cosines for scores", () =>
  inScratch(async (folder) => {
    const data = lines(folder, "data.jsonl", [{ sentence1: "a", sentence2: "b", score: 4.5 }]);
    const { stderr } = await lowrank("train", "--model", MODEL, "--data", data, "--out", join(folder, "out"));
    expect(stderr).toMatch(/data.jsonl:1: score is the number 4.5, a cosine from -1 to 1 is needed/);
  }));
