/**
 * Adapters that we write, read by PEFT: `npx vitest run --config test/peers.config.ts test/adapters`. LOWRANK_PYTHON names a
 * Python with PEFT. Each case's trained adapter is read, written again by us, loaded by PEFT with warnings as errors,
 * and must give the expected logits.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAdapter } from "../../src/adapters/adapter.ts";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type ConvertTarget, convertAdapter } from "../../src/convert/convert.ts";
import { openCase, trainedAdapter } from "../goldens/harness.ts";

const folder = process.env["LOWRANK_GOLDENS"] ?? fileURLToPath(new URL("../goldens/cases", import.meta.url));
const python = process.env["LOWRANK_PYTHON"] ?? "python3";
const script = fileURLToPath(new URL("check_with_peft.py", import.meta.url));
const cases = readdirSync(folder).filter((name) => existsSync(join(folder, name, "trained")));

let out = "";
beforeAll(() => {
  out = mkdtempSync(join(tmpdir(), "lowrank-peers-"));
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

test("PEFT loads every adapter that we write, without a warning, and computes the same", () => {
  const written = cases.map((name) => {
    const golden = openCase(join(folder, name));
    savePeftFolder(join(out, name), trainedAdapter(golden));
    const fresh = createAdapter(golden.adapter.config, golden.model, golden.trace, 1);
    savePeftFolder(join(out, `${name}.fresh`), fresh);
    return name;
  });
  const report = execFileSync(python, [script, folder, out, ...written], { encoding: "utf8", timeout: 600_000 });
  console.log(report);
  expect(report).toContain(`${written.length} adapters agree`);
}, 600_000);

const CONVERTED = [
  "gpt2-all-linear-rslora",
  "gpt2-c_attn",
  "gemma",
  "llama-gqa-tied",
  "llama-untied-patterns",
  "olmo2",
  "phi",
  "phi3",
  "qwen2",
  "qwen3",
  "smollm3",
];

test.each<ConvertTarget>(["gguf", "mlx"])(
  "PEFT loads adapters that went to %s and back, and computes the same",
  (to) => {
    const names = CONVERTED.filter((name) => cases.includes(name));
    for (const name of names) {
      const [model, there] = [join(folder, name, "model"), join(out, `${name}.${to}`)];
      convertAdapter({ adapter: join(folder, name, "trained"), to, out: there, model });
      // The script reads a second one, fresh: here it is the same.
      for (const back of [name, `${name}.fresh`]) {
        convertAdapter({ adapter: there, to: "peft", out: join(out, to, back), model });
      }
    }
    const report = execFileSync(python, [script, folder, join(out, to), ...names], {
      encoding: "utf8",
      timeout: 600_000,
    });
    expect(report).toContain(`${names.length} adapters agree`);
    expect(names.length).toBeGreaterThan(0);
  },
  600_000,
);
