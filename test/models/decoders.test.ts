/** Decoder models against transformers and PEFT: logits, loss and every gradient of the golden cases. */

import { test } from "vitest";
import { caseErrors, expectWithin, openCase } from "../goldens/harness.ts";

test.each([
  "gpt2-c_attn",
  "gpt2-all-linear-rslora",
  "llama-gqa-tied",
  "llama-untied-patterns",
])("%s: logits, loss and every gradient are those of transformers and PEFT", async (name) => {
  expectWithin(await caseErrors(openCase(name)));
});
