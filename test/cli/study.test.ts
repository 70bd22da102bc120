/** study, score and eval --generate, as users call them. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { golden, inScratch, lines, lowrank, readJson } from "./lowrank.ts";

const CASE = "gpt2-c_attn";

test("study: two adapters of one base, as JSON and as a page", () =>
  inScratch(async (out) => {
    const adapters = [
      "--adapter",
      `before=${golden(CASE, "adapter")}`,
      "--adapter",
      `after=${golden(CASE, "trained")}`,
    ];
    const run = await lowrank(
      "study",
      ...adapters,
      "--model",
      golden(CASE, "model"),
      "--out",
      out,
      "--suggest",
      "--json",
    );
    expect(run.code).toBe(0);
    const { adapters: studied, overlaps } = readJson(join(out, "study.json")) as {
      adapters: { modules: { module: string; singularValues: number[]; amplification: { factor: number } }[] }[];
      overlaps: { first: string; second: string; phi: number[][] }[];
    };
    const modules = studied.flatMap((each) => each.modules);
    for (const { singularValues, amplification } of modules) {
      expect(singularValues).toEqual(singularValues.toSorted((a, b) => b - a));
      expect(amplification.factor).toBeGreaterThan(0);
    }
    const pair = overlaps.find(({ first, second }) => first === "before" && second === "after")!;
    const chance = overlaps.find(({ second }) => second === "random")!;
    // Six steps leave most of A as it was.
    expect(pair.phi.at(-1)!.at(-1)!).toBeGreaterThan(chance.phi.at(-1)!.at(-1)!);
    expect(readFileSync(join(out, "study.html"), "utf8")).toContain("How many directions an update uses");
    const none = await lowrank("study", "--adapter", golden("gpt2-ia3", "adapter"), "--out", out);
    expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining("needed LoRA") });
  }));

test("score: rows of texts and references; a row without is named", () =>
  inScratch(async (folder) => {
    const file = lines(folder, "texts.jsonl", [
      { text: "A pub by the river.", references: ["A pub by the river.", "Else."] },
    ]);
    expect((await lowrank("score", file, "--json")).events[0]).toMatchObject({ bleu: 100, rougeL: 1, texts: 1 });
    const wrong = lines(folder, "wrong.jsonl", [
      { text: "A", references: [] },
      { text: "B", references: "C" },
    ]);
    expect(await lowrank("score", wrong)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("wrong.jsonl:2: needed"),
    });
  }));

test("eval --generate: completions of each prompt once, scored and written", () =>
  inScratch(async (folder) => {
    const data = "examples/quickstart/restaurants/valid.jsonl";
    const predictions = join(folder, "predictions.jsonl");
    const given = ["eval", "--model", "embedded:gpt2-tiny", "--data", data, "--json"];
    const run = await lowrank(
      ...given,
      "--generate",
      "--limit",
      "3",
      "--max-tokens",
      "8",
      "--predictions",
      predictions,
    );
    expect(run.code).toBe(0);
    expect(run.events[0]).toMatchObject({ texts: 3, bleu: expect.any(Number), loss: expect.any(Number) });
    const scored = await lowrank("score", predictions, "--json");
    expect(scored.events[0]!["cider"]).toBe(run.events[0]!["cider"]);
    expect(existsSync(predictions)).toBe(true);
    expect(await lowrank(...given, "--limit", "3")).toMatchObject({ code: 2 });
  }));
