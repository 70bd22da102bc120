/**
 * The bases and adapters that ship with the package, on rows that no training has seen: passages of addresses that were
 * left out (era.jsonl, president.jsonl: every fifth test row of scripts/embedded/encoder-tasks.mjs), and the quickstart's held-out records.
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { adapterArguments } from "../../src/cli/adapter-argument.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import type { Evaluation } from "../../src/evaluate/evaluate.ts";
import { type EvaluateInput, evaluateHere } from "../../src/evaluate/run.ts";
import { embeddedNames, locateEmbedded } from "../../src/files/embedded.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { lines } from "../cli/lowrank.ts";
import { inFolder } from "../train/runs.ts";

const RESTAURANTS = join(import.meta.dirname, "../../examples/quickstart/restaurants/valid.jsonl");

function rowsOf(path: string): { text: string }[] {
  return readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { text: string });
}

function measure(input: EvaluateInput): Promise<Evaluation> {
  return evaluateHere({ threads: 1, maxLength: 128, ...input }, nodeRuntime);
}

const own = (name: string): string => join(import.meta.dirname, name);
const adapters = (name: string): NonNullable<EvaluateInput["adapters"]> => adapterArguments([`embedded:${name}`]);

test("embedded:NAME finds bases and adapters, each among its own, and says what there is", () => {
  expect(embeddedNames("base")).toEqual(["deberta-tiny", "diffusion-tiny", "gpt2-tiny", "roberta-tiny"]);
  expect(embeddedNames("adapter")).toEqual(["deberta-president", "restaurants", "roberta-era"]);
  expect(() => locateEmbedded("embedded:roberta-era", "base")).toThrow(/no such embedded base.*embedded:gpt2-tiny/);
  expect(() => openPeftFolder("embedded:gpt2-tiny")).toThrow(/no such embedded adapter.*embedded:roberta-era/);
  expect(() => locateEmbedded("embedded:../gpt2-tiny", "base")).toThrow(/no such embedded base/);
  expect(adapterArguments(["embedded:restaurants@0.5"])).toMatchObject([{ name: "restaurants", weight: 0.5 }]);
});

test.each(["roberta-tiny", "deberta-tiny"])("%s fits 8 MB, has its tokenizer, and fills in what is hidden", (name) =>
  inFolder(async (folder) => {
    const base = locateEmbedded(`embedded:${name}`, "base");
    const bytes = readdirSync(base).reduce((sum, file) => sum + statSync(join(base, file)).size, 0);
    expect(bytes).toBeLessThan(8e6);
    const tokenizer = loadTokenizer(base)!;
    const text = "The Congress of the United States.";
    expect(tokenizer.decode(tokenizer.encode(text, { special: true }), { skipSpecial: true })).toBe(text);
    expect(tokenizer.maskId).not.toBeNull();
    const data = lines(
      folder,
      "texts.jsonl",
      rowsOf(own("era.jsonl")).map(({ text }) => ({ text })),
    );
    const { loss, accuracy } = await measure({ model: `embedded:${name}`, data, task: "masked-lm" });
    expect(loss).toBeLessThan(MASKED[name]!.loss);
    expect(accuracy).toBeGreaterThan(MASKED[name]!.accuracy);
  }),
);

/** Words alone, without any context, give a loss of about 6.4 and 11 % (the comma, "the"). */
const MASKED: Readonly<Record<string, { readonly loss: number; readonly accuracy: number }>> = {
  "roberta-tiny": { loss: 5.6, accuracy: 0.17 },
  "deberta-tiny": { loss: 5, accuracy: 0.2 },
};

test.each([
  { adapter: "roberta-era", model: "roberta-tiny", file: "era.jsonl", atLeast: 0.4 }, // chance is 0.25
  { adapter: "deberta-president", model: "deberta-tiny", file: "president.jsonl", atLeast: 0.25 }, // chance is 0.125
])("$adapter tells passages apart", async ({ adapter, model, file, atLeast }) => {
  const { accuracy } = await measure({ model: `embedded:${model}`, adapters: adapters(adapter), data: own(file) });
  expect(accuracy).toBeGreaterThan(atLeast);
});

test("restaurants makes the base's held-out sentences much likelier", () =>
  inFolder(async (folder) => {
    const data = lines(folder, "rows.jsonl", rowsOf(RESTAURANTS).slice(0, 20));
    const base = await measure({ model: "embedded:gpt2-tiny", data });
    const adapted = await measure({ model: "embedded:gpt2-tiny", adapters: adapters("restaurants"), data });
    expect(adapted.loss).toBeLessThan(base.loss - 1.5);
  }));

test("an embedded adapter is refused on another base's weights", async () => {
  const options = { model: "embedded:deberta-tiny", adapters: adapters("roberta-era"), data: own("era.jsonl") };
  await expect(measure(options)).rejects.toThrow(
    /roberta-era: the task sequence-classification needs classifier.weight, which .*deberta-tiny lacks/,
  );
});
