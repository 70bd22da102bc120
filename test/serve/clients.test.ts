/** OpenAI's own client against the server, unchanged: what it sends is taken, what it reads is there. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { type Running, serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-clients-"));
const model = join(root, "tiny");
const path = join(root, "mine");
const apiKey = "a key of ours";
let base: LoadedBase;
let server: Running;
let client: OpenAI;

beforeAll(async () => {
  writeWordedModel(model);
  base = await loadBase(model, { threads: 1 }, nodeRuntime);
  savePeftFolder(path, randomAdapter(base.model, { r: 4, lora_alpha: 32, target_modules: ["c_attn"] }, 1));
  server = await serving(["--model", model, "--adapter", `mine=${path}`, "--api-key", apiKey]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
});
afterAll(async () => {
  await Promise.all([server.stop(), base.close()]);
  rmSync(root, { recursive: true });
});

const messages = [{ role: "user" as const, content: "hello world" }];
const wanted = async (prompt: { prompt: string } | { messages: typeof messages }, weight: number) =>
  base.complete({ ...prompt, maxTokens: 12, adapters: [[await base.adapter(path), weight]] });

test("models.list names the base and its adapters", async () => {
  const names: string[] = [];
  for await (const { id, object } of client.models.list()) names.push(`${object} ${id}`);
  expect(names).toEqual(["model tiny", "model mine"]);
});

test("chat.completions: whole, as a stream, and by the client's own helper", async () => {
  const { text, promptTokens, completionTokens } = await wanted({ messages }, 0.7);
  const request = { model: "mine@0.7", messages, max_completion_tokens: 12, temperature: 0 };
  const whole = await client.chat.completions.create(request);
  expect(whole.choices[0]).toMatchObject({ finish_reason: "length", message: { role: "assistant", content: text } });
  const usage = { prompt_tokens: promptTokens, completion_tokens: completionTokens };
  expect(whole.usage).toMatchObject(usage);
  const stream = await client.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(text);
  expect(chunks.length).toBeGreaterThan(10);
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage });
  const helped = client.chat.completions.stream(request);
  expect(await helped.finalContent()).toBe(text);
  expect((await helped.finalChatCompletion()).choices[0]!.finish_reason).toBe("length");
});

test("completions: whole, as a stream, several prompts, log probabilities", async () => {
  const { text } = await wanted({ prompt: "hello world" }, 1);
  const request = { model: "mine", max_tokens: 12, temperature: 0 };
  const whole = await client.completions.create({ ...request, prompt: ["hello world", "user"], logprobs: 2 });
  expect(whole.choices.map(({ index }) => index)).toEqual([0, 1]);
  expect(whole.choices[0]!.text).toBe(text);
  expect(Object.keys(whole.choices[0]!.logprobs!.top_logprobs![0]!)).toHaveLength(2);
  let streamed = "";
  for await (const { choices } of await client.completions.create({
    ...request,
    prompt: "hello world",
    stream: true,
  })) {
    streamed += choices[0]!.text;
  }
  expect(streamed).toBe(text);
});

test("what is wrong arrives as the client's own errors", async () => {
  const request = { model: "nobody", messages };
  await expect(client.chat.completions.create(request)).rejects.toThrow(OpenAI.NotFoundError);
  await expect(client.chat.completions.create({ ...request, stream: true })).rejects.toThrow(OpenAI.NotFoundError);
  await expect(client.completions.create({ model: "tiny", prompt: "user", n: 99 })).rejects.toThrow(
    OpenAI.BadRequestError,
  );
  const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "another", maxRetries: 0 });
  await expect(stranger.chat.completions.create({ model: "tiny", messages })).rejects.toThrow(
    OpenAI.AuthenticationError,
  );
});

test("a stream that the client leaves ends on the server; later calls are answered", async () => {
  const stream = await client.completions.create({ model: "mine", prompt: "hello", max_tokens: 40, stream: true });
  for await (const _ of stream) break;
  const { choices } = await client.completions.create({ model: "mine", prompt: "hello", max_tokens: 2 });
  expect(choices).toHaveLength(1);
});

test("embeddings.create, in numbers and in the base64 that the client asks for by itself", async () => {
  const folder = fileURLToPath(new URL("../evaluate/pairs/model", import.meta.url));
  const sentences = await serving(["--model", folder]);
  const embedder = new OpenAI({ baseURL: `${sentences.url}/v1`, apiKey: "none" });
  const input = ["how to cook rice", "rice"];
  const { data, usage } = await embedder.embeddings.create({ model: "model", input });
  const plain = await embedder.embeddings.create({ model: "model", input, encoding_format: "float" });
  expect(await sentences.stop()).toBe(0);
  expect(data).toHaveLength(2);
  data.forEach(({ embedding }, row) => {
    embedding.forEach((value, i) => {
      expect(Math.abs(value - plain.data[row]!.embedding[i]!)).toBeLessThan(1e-6);
    });
  });
  expect(usage.prompt_tokens).toBeGreaterThan(2);
});
