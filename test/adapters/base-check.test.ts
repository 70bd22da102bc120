import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { inFolder, MODEL, run } from "../train/runs.ts";

test("an adapter is refused on weights other than those it was trained on, though they bear the same name", () =>
  inFolder(async (folder) => {
    const model = join(folder, "base");
    cpSync(MODEL, model, { recursive: true });
    const { out } = await run(folder, "adapter", { model, maxSteps: 2 });
    const input = { model, data: join(folder, "rows.jsonl"), adapters: [{ name: "a", path: out, weight: 1 }] };
    await evaluateHere(input, nodeRuntime);
    // The same content elsewhere, by another name: no error.
    cpSync(model, join(folder, "moved"), { recursive: true });
    const told: string[] = [];
    await evaluateHere({ ...input, model: join(folder, "moved"), onWarning: (text) => told.push(text) }, nodeRuntime);
    expect(told).toHaveLength(1);
    // One weight differs.
    const weights = join(model, "model.safetensors");
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weights, bytes);
    const message =
      /adapter was trained on other weights than .*base holds: .* Use the .*base of that time, or train again/;
    await expect(evaluateHere(input, nodeRuntime)).rejects.toThrow(message);
    await expect(run(folder, "again", { model, initAdapter: out, maxSteps: 1 })).rejects.toThrow(message);
    const base = await loadBase(model, { threads: 1 }, nodeRuntime);
    await expect(base.adapter(out)).rejects.toThrow(message);
    await base.close();
  }));
