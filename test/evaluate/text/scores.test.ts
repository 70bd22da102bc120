/** Metrics of generated texts against their reference implementations (make_scores.py says which). */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { scoreTexts } from "../../../src/evaluate/text/score.ts";
import { metricTokens } from "../../../src/evaluate/text/tokens.ts";

interface Case {
  readonly texts: readonly { readonly text: string; readonly references: readonly string[] }[];
  readonly scores: Readonly<Record<"bleu" | "sacrebleu" | "nist" | "meteor" | "rougeL" | "cider", number>>;
}

const cases = JSON.parse(readFileSync(new URL("scores.json", import.meta.url), "utf8")) as Record<string, Case>;

test.each(Object.entries(cases))("%s: as pymteval, NLTK and pycocoevalcap say", (_name, { texts, scores }) => {
  const found = scoreTexts(texts);
  for (const name of ["bleu", "nist", "meteor", "rougeL", "cider"] as const) {
    expect(Math.abs(found[name] - scores[name]), name).toBeLessThan(1e-9 * Math.max(1, scores[name]));
  }
  expect(Math.abs(found.bleu - scores.sacrebleu)).toBeLessThan(1e-6);
});

test("a text equal to its reference has the best scores; an empty one has none", () => {
  const sentence = "The Blue Spice is a pub by the river.";
  const [same, none] = [
    scoreTexts([{ text: sentence, references: [sentence, "Else."] }]),
    scoreTexts([{ text: "", references: [sentence] }]),
  ];
  expect(same).toMatchObject({ bleu: 100, rougeL: 1 });
  expect(same.meteor).toBeCloseTo(1, 2);
  expect(none).toMatchObject({ bleu: 0, nist: 0, meteor: 0, rougeL: 0 });
  expect(() => scoreTexts([{ text: "a", references: [] }])).toThrow("Text 1 has no reference");
});

test("tokens are mteval's", () => {
  expect(metricTokens("It's £1,234.50 (well-known), 3-4.")).toEqual([
    "it's",
    "£1,234.50",
    "(",
    "well-known",
    ")",
    ",",
    "3",
    "-",
    "4",
    ".",
  ]);
});
