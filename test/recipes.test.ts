/** Every recipe is a file that its command takes. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import train from "../src/cli/commands/train.ts";
import { readConfigValues } from "../src/cli/flags.ts";
import { parseComparison } from "../src/compare/config.ts";

const folder = join(import.meta.dirname, "../recipes");
const recipes = readdirSync(folder).filter((name) => name.endsWith(".yaml"));

test("the paper's runs are all there", () => {
  for (const task of ["mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb"]) {
    for (const model of ["roberta-base", "roberta-large", "deberta-v2-xxlarge"])
      expect(recipes).toContain(`${model}-${task}.yaml`);
  }
  for (const task of ["e2e", "webnlg", "dart"]) {
    for (const size of ["medium", "large"]) expect(recipes).toContain(`gpt2-${size}-${task}.yaml`);
  }
});

test.each(recipes)("recipes/%s has options that its command knows", (name) => {
  const values = parse(readFileSync(join(folder, name), "utf8")) as Record<string, unknown>;
  if (name.startsWith("compare-")) expect(parseComparison(values, name).methods.length).toBeGreaterThan(1);
  else expect(Object.keys(readConfigValues(values, train.flags, name)).length).toBe(Object.keys(values).length);
});
