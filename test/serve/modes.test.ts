import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { serving } from "./running.ts";

const PAIRS = fileURLToPath(new URL("../evaluate/pairs", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "serve-modes-"));
const model = join(root, "tiny");
const path = join(root, "mine");
let base: LoadedBase;

beforeAll(async () => {
  writeWordedModel(model);
  base = await loadBase(model, { threads: 1 }, nodeRuntime);
  savePeftFolder(path, randomAdapter(base.model, { r: 4, lora_alpha: 32, target_modules: ["c_attn"] }, 1));
});
afterAll(async () => {
  await base.close();
  rmSync(root, { recursive: true });
});

test.each(["static", "fuse"])(
  "%s: every request has the one set, under the base's name; no other is taken",
  async (mode) => {
    const server = await serving(["--model", model, "--lora-mode", mode, "--adapter", `${path}@0.6`]);
    const adapters = [[await base.adapter(path), 0.6]] as const;
    const wanted = await base.complete({ prompt: "hello world", maxTokens: 10, adapters });
    const body = { prompt: "hello world", max_tokens: 10, temperature: 0 };
    const answer = (await (await server.post("/v1/completions", body)).json()) as { choices: { text: string }[] };
    expect(answer.choices[0]!.text).toBe(wanted.text);
    expect((await server.post("/v1/completions", { ...body, model: "mine" })).status).toBe(404);
    expect(await server.stop()).toBe(0);
    await expect(serving(["--model", model, "--lora-mode", mode, "--adapters-dir", root])).rejects.toThrow(
      /ended with 2.*one set for all/s,
    );
  },
);

test.each(["int8", "int4"] as const)(
  "--precision %s: the probabilities are the library's, not those of fp32",
  async (precision) => {
    const cacheDir = join(root, "cache");
    const server = await serving(["--model", model, "--precision", precision, "--adapter", `mine=${path}`], {
      LOWRANK_CACHE: cacheDir,
    });
    const body = { model: "mine", prompt: "hello world", max_tokens: 10, temperature: 0, logprobs: 0 };
    const { choices } = (await (await server.post("/v1/completions", body)).json()) as {
      choices: { text: string; logprobs: { token_logprobs: number[] } }[];
    };
    expect(await server.stop()).toBe(0);
    const quantised = await loadBase(model, { threads: 1, precision, cacheDir }, nodeRuntime);
    const request = { prompt: "hello world", maxTokens: 10, logprobs: 0 };
    const wanted = await quantised.complete({ ...request, adapters: [[await quantised.adapter(path), 1]] });
    const float = await base.complete({ ...request, adapters: [[await base.adapter(path), 1]] });
    await quantised.close();
    expect(choices[0]!.text).toBe(wanted.text);
    const found = choices[0]!.logprobs.token_logprobs;
    const away = (from: typeof wanted): number =>
      Math.max(...from.logprobs!.map(({ logprob }, i) => Math.abs(logprob - found[i]!)));
    expect(away(wanted)).toBeLessThan(1e-5);
    expect(away(float)).toBeGreaterThan(1e-5);
  },
);

test("a sentence model gives embeddings as numbers or base64, and no text", async () => {
  const { texts, pooled } = JSON.parse(readFileSync(join(PAIRS, "pairs.json"), "utf8")) as {
    texts: string[];
    pooled: Record<string, number[]>;
  };
  const server = await serving(["--model", join(PAIRS, "model")]);
  const ask = async (body: object) =>
    (await (await server.post("/v1/embeddings", body)).json()) as {
      data: { embedding: number[] | string }[];
      usage: object;
    };
  const { data, usage } = await ask({ model: "model", input: texts });
  const vectors = data.map(({ embedding }) => embedding as number[]);
  vectors.flat().forEach((value, i) => {
    expect(Math.abs(value - pooled["mean_tokens"]![i]!)).toBeLessThan(1e-5);
  });
  expect(usage).toMatchObject({ prompt_tokens: expect.any(Number) });
  const encoded = await ask({ input: texts[0], encoding_format: "base64" });
  const bytes = Buffer.from(encoded.data[0]!.embedding as string, "base64");
  const decoded = [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)];
  decoded.forEach((value, i) => {
    expect(Math.abs(value - vectors[0]![i]!)).toBeLessThan(1e-6);
  });
  expect((await server.post("/v1/completions", { prompt: "x" })).status).toBe(400);
  expect((await server.post("/v1/embeddings", { input: "x", model: "other" })).status).toBe(404);
  expect(await server.stop()).toBe(0);
});
