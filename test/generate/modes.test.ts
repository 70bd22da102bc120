import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadOptions, loadBase } from "../../src/generate/load.ts";
import { openModel } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";
import { randomAdapter } from "./random-adapter.ts";

function furthest(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0);
}

const MODES: readonly LoadOptions[] = [
  { mode: "auto" },
  { mode: "dynamic" },
  { mode: "static-rank", maxRank: 40 },
  { mode: "static" },
  { mode: "fuse" },
  { mode: "fuse", holdBytes: 0 },
];

async function logits(
  model: string,
  ids: readonly number[],
  set: readonly (readonly [string, number])[],
  options: LoadOptions,
): Promise<Float32Array> {
  const fixed = options.mode === "static" || options.mode === "fuse";
  const base = await loadBase(model, { threads: 1, ...options, ...(fixed ? { adapters: set } : {}) }, nodeRuntime);
  const adapters = [];
  for (const [path, weight] of fixed ? [] : set) adapters.push([await base.adapter(path), weight] as const);
  const scores = await base.logits(ids, adapters);
  const { tokenIds } = await base.complete({ tokenIds: ids, maxTokens: 6, ignoreEnd: true, adapters });
  expect(tokenIds).toHaveLength(6);
  await base.close();
  return scores.slice();
}

test.each(["llama-gqa-tied", "gpt2-all-linear-rslora", "llama-dora", "llama-ia3", "gpt2-bias-lora-only"])(
  "%s: the scores of every mode are PEFT's",
  async (name) => {
    const golden = openCase(name);
    const [row] = readFileSync(`${golden.folder}/data.jsonl`, "utf8").split("\n");
    const ids = (JSON.parse(row!) as { input_ids: number[] }).input_ids;
    const tensor = golden.expected.get("adapter.logits")!;
    const [, T = 0, V = 0] = tensor.shape;
    const wanted = toFloat32(tensor).subarray(0, Math.min(T, ids.length) * V);
    for (const options of MODES) {
      const scores = await logits(`${caseFolder(name)}/model`, ids, [[`${caseFolder(name)}/adapter`, 1]], options);
      expect(furthest(scores.subarray(0, wanted.length), wanted)).toBeLessThan(1e-4);
    }
  },
);

test("a weighted sum has the same scores in every mode", async () => {
  const model = `${caseFolder("llama-gqa-tied")}/model`;
  const root = mkdtempSync(join(tmpdir(), "modes-"));
  const set = [0, 1].map((i) => {
    const fields = { r: 3 + i, lora_alpha: 12, target_modules: i ? ["v_proj", "down_proj"] : ["q_proj", "v_proj"] };
    savePeftFolder(join(root, `a${i}`), randomAdapter(openModel(model), fields, i + 1));
    return [join(root, `a${i}`), i ? -0.4 : 0.7] as const;
  });
  const ids = [5, 17, 3, 39, 22, 8, 31];
  const all = [];
  for (const options of MODES) all.push(await logits(model, ids, set, options));
  for (const scores of all) expect(furthest(scores, all[0]!)).toBeLessThan(1e-4);
  expect(furthest(all[0]!, await logits(model, ids, [], {}))).toBeGreaterThan(1e-3);
  rmSync(root, { recursive: true });
});

test("what a mode cannot do is refused by name", async () => {
  const model = `${caseFolder("llama-gqa-tied")}/model`;
  const path = `${caseFolder("llama-gqa-tied")}/adapter`;
  const prefix = `${caseFolder("llama-prefix-tuning")}/adapter`;
  const load = (options: LoadOptions) => loadBase(model, { threads: 1, ...options }, nodeRuntime);
  await expect(load({ adapters: [[path, 1]] })).rejects.toThrow(/with each request/);
  await expect(load({ mode: "fuse", adapters: [[prefix, 1]] })).rejects.toThrow(/cannot be fused|does not fit/);
  const base = await load({ mode: "fuse", adapters: [[path, 1]] });
  const other = await base.adapter(path);
  await expect(base.logits([1, 2], [[other, 1]])).rejects.toThrow(/from load on/);
  await base.close();
  const narrow = await load({ mode: "static-rank", maxRank: 2 });
  const adapter = await narrow.adapter(path);
  await expect(narrow.logits([1, 2], [[adapter, 1]])).rejects.toThrow(/higher maxRank/);
  await narrow.close();
});
