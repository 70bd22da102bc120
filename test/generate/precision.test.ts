import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";
import { dequantised } from "../precision/dequantised.ts";

const cacheDir = mkdtempSync(join(tmpdir(), "lowrank-decode-"));
const ids = [3, 17, 5, 9, 30, 2, 11, 8, 21, 14];

/** Scores after every token, without and with the case's adapter. */
async function scores(
  name: string,
  options: Parameters<typeof loadBase>[1],
  model: string = join(caseFolder(name), "model"),
): Promise<Float32Array[]> {
  const at = caseFolder(name);
  const base = await loadBase(model, { threads: 1, cacheDir, ...options }, nodeRuntime);
  try {
    const adapter = await base.adapter(join(at, "adapter"));
    return [await base.logits(ids), await base.logits(ids, [[adapter, 1]])];
  } finally {
    await base.close();
  }
}

/** Root mean square of the differences over that of the scores. */
function distance(found: Float32Array, needed: Float32Array): number {
  const square = (values: Float32Array): number => values.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(square(found.map((value, i) => value - needed[i]!)) / square(needed));
}

/** Root mean square of the differences to the base that holds the same numbers in float32, over that of its scores. */
async function away(name: string, options: Parameters<typeof loadBase>[1], model: string): Promise<number[]> {
  const needed = await scores(name, {}, model);
  return (await scores(name, options)).map((values, i) => distance(values, needed[i]!));
}

test.each(["llama-gqa-tied", "gpt2-c_attn"])(
  "%s: decoding on fewer bits computes what they stand for",
  async (name) => {
    const kernels = [
      [{ precision: "int8" }, join(caseFolder(name), "model"), 0.03],
      [{ precision: "int4" }, await dequantised(name, "int4", cacheDir), 0.03], // activations and the head in eight bits
      [{ precision: "int4", quantType: "nf4" }, await dequantised(name, "nf4", cacheDir), 0.01], // the head
    ] as const;
    for (const [options, model, most] of kernels) {
      for (const distance of await away(name, options, model)) {
        expect(distance).toBeLessThan(most);
        expect(distance).toBeGreaterThan(1e-4);
      }
    }
  },
);

test("a completion on four bits goes token by token as its scores say", async () => {
  const base = await loadBase(
    join(caseFolder("llama-gqa-tied"), "model"),
    { threads: 1, cacheDir, precision: "int4" },
    nodeRuntime,
  );
  const { tokenIds } = await base.complete({ tokenIds: ids, maxTokens: 4, temperature: 0 });
  const vocabulary = base.model.config.vocabularySize;
  let sequence = [...ids];
  for (const id of tokenIds) {
    const last = (await base.logits(sequence)).slice(-vocabulary);
    expect(last.indexOf(Math.max(...last))).toBe(id);
    sequence = [...sequence, id];
  }
  await base.close();
});
