/** A name answers with what was registered under it, whatever happens to the files after that. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { openModel } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { openEmbeddingEngine } from "../../src/serve/embedding-engine.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-content-"));
afterAll(() => rmSync(root, { recursive: true }));

test("text: an adapter that left the memory comes back as it was registered, or not at all", async () => {
  const model = join(root, "tiny");
  writeWordedModel(model);
  const [a, b] = [join(root, "a"), join(root, "b")];
  const write = (path: string, seed: number): void =>
    savePeftFolder(path, randomAdapter(openModel(model), { r: 4, lora_alpha: 64, target_modules: ["c_attn"] }, seed));
  write(a, 1);
  write(b, 2);
  // Room for none: each leaves when its last request ends.
  const server = await serving([
    ...["--model", model, "--adapter", `a=${a}`, "--adapter", `b=${b}`],
    ...["--adapter-bytes", "1"],
  ]);
  const ask = async (name: string) => {
    const body = { model: name, prompt: "hello world", max_tokens: 4, temperature: 0, logprobs: 0 };
    const answer = await server.post("/v1/completions", body);
    return { status: answer.status, text: await answer.text() };
  };
  const scores = ({ text }: { text: string }): unknown =>
    (JSON.parse(text) as { choices: { logprobs: { token_logprobs: number[] } }[] }).choices[0]!.logprobs.token_logprobs;
  const before = await ask("a");
  write(a, 3);
  const changed = await ask("a");
  expect(changed.status).toBe(400);
  expect(changed.text).toMatch(/adapter a cannot be loaded: its files are not those/);
  expect((await ask("b")).status).toBe(200);
  write(a, 1);
  writeFileSync(join(a, "lowrank.json"), "{}"); // provenance computes nothing
  expect(scores(await ask("a"))).toEqual(scores(before));
  expect(await server.stop()).toBe(0);
});

test("embeddings: sessions that are opened again have the adapter that was loaded, or fail", async () => {
  const pairs = fileURLToPath(new URL("../evaluate/pairs", import.meta.url));
  const path = join(root, "sentences");
  cpSync(join(pairs, "adapter"), path, { recursive: true });
  const model = join(pairs, "model");
  const settings = { model, threads: 1, rows: 1, cacheTokens: 64, prefixBytes: 0, maxLength: null, maxRank: 64 };
  const engine = openEmbeddingEngine(settings, openModel(model), nodeRuntime);
  const embed = async (weight: number, number = 1) => [
    ...(await engine.embed(["rice"], [[number, weight]])).vectors[0]!,
  ];
  const file = join(path, "adapter_config.json");
  const config = readFileSync(file, "utf8");
  const change = (): void => writeFileSync(file, JSON.stringify({ ...JSON.parse(config), lora_alpha: 999 }));
  await engine.loadAdapter(1, path);
  const whole = await embed(1);
  change();
  expect(await embed(1)).toEqual(whole); // its session is there
  await expect(embed(0.5)).rejects.toThrow(/not those that were registered/);
  writeFileSync(file, config);
  for (const weight of [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]) expect(await embed(weight)).not.toEqual(whole);
  expect(await embed(1)).toEqual(whole); // left the memory, and came back
  change();
  await expect(embed(0.1)).rejects.toThrow(/not those that were registered/);
  await engine.loadAdapter(2, path); // loaded again: the new one is wanted
  expect(await embed(1, 2)).not.toEqual(whole);
  await engine.close();
});
