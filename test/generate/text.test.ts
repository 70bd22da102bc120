import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseChat, renderChat } from "../../src/generate/chat.ts";
import type { GenerateOptions } from "../../src/generate/generate.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import type { Piece } from "../../src/generate/sequence.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { writeWordedModel } from "./worded-model.ts";

let folder = "";
let base: LoadedBase;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "generate-"));
  writeWordedModel(folder);
  base = await loadBase(folder, { threads: 1 }, nodeRuntime);
});

afterAll(async () => {
  await base.close();
  rmSync(folder, { recursive: true });
});

async function pieces(
  options: GenerateOptions,
): Promise<{ text: string; tokenIds: number[]; whole: Awaited<ReturnType<LoadedBase["complete"]>> }> {
  const generation = base.generate(options);
  const got: Piece[] = [];
  for (;;) {
    const { done, value } = await generation.next();
    if (done) {
      return {
        text: got.map(({ text }) => text).join(""),
        tokenIds: got.flatMap(({ tokenIds }) => tokenIds),
        whole: value,
      };
    }
    got.push(value);
  }
}

test("streamed pieces joined are the whole text and its tokens", async () => {
  const { text, tokenIds, whole } = await pieces({ prompt: "hello world", maxTokens: 30, ignoreEnd: true });
  expect(text).toBe(whole.text);
  expect(tokenIds).toEqual(whole.tokenIds);
  expect(text).toBe(base.tokenizer!.decode(tokenIds, { skipSpecial: true }));
  expect(whole).toMatchObject({ promptTokens: 2, completionTokens: 30, finishReason: "length" });
});

test("a stop string cuts the text before it and ends the completion", async () => {
  const free = await base.complete({ prompt: "hello", maxTokens: 30, ignoreEnd: true, temperature: 1, seed: 4 });
  const words = free.text.split(" ");
  const stop = words[5]!.slice(1);
  const at = free.text.indexOf(stop);
  const { text, whole } = await pieces({
    prompt: "hello",
    maxTokens: 30,
    ignoreEnd: true,
    temperature: 1,
    seed: 4,
    stop: ["never", stop],
  });
  expect(text).toBe(free.text.slice(0, at));
  expect(whole.text).toBe(text);
  expect(whole.finishReason).toBe("stop");
});

test("draws repeat with their seed", async () => {
  const run = async (seed: number): Promise<readonly number[]> =>
    (await base.complete({ prompt: "hello", maxTokens: 20, ignoreEnd: true, temperature: 1.5, topP: 0.9, seed }))
      .tokenIds;
  expect(await run(1)).toEqual(await run(1));
  expect(await run(1)).not.toEqual(await run(2));
});

test("a completion ends with length at the model's last position, and longer prompts are refused", async () => {
  const limit = base.model.config.maxPositions!;
  const whole = await base.complete({ tokenIds: new Array<number>(limit - 3).fill(4), maxTokens: 50, ignoreEnd: true });
  expect(whole).toMatchObject({ completionTokens: 4, finishReason: "length" });
  await expect(base.complete({ tokenIds: new Array<number>(limit + 1).fill(4) })).rejects.toThrow(/takes/);
});

test("messages go through the chat template, with special tokens and without further ones", async () => {
  const request = { messages: [{ role: "user", content: "hello" }], tools: [{ name: "f" }] };
  const prompt = renderChat(base.tokenizer!, folder, request);
  expect(prompt).toBe('<s>user hello</s> [{"name": "f"}]assistant');
  const { promptTokens } = await base.complete({ messages: [{ role: "user", content: "hello" }], maxTokens: 1 });
  expect(promptTokens).toBe(5);
  expect(() => renderChat(base.tokenizer!, folder, { messages: [{ role: "assistant", content: "" }] })).toThrow(
    /user first/,
  );
  expect(() => renderChat({ ...base.tokenizer!, chatTemplate: null }, folder, request)).toThrow(/no chat template/);
});

test("a messages file is a list or an object, and is refused otherwise", () => {
  expect(parseChat([{ role: "user", content: "x" }], "f")).toEqual({ messages: [{ role: "user", content: "x" }] });
  expect(parseChat({ messages: [{ role: "user" }], tools: [] }, "f")).toEqual({
    messages: [{ role: "user" }],
    tools: [],
  });
  expect(() => parseChat({}, "f")).toThrow(/list of messages/);
  expect(() => parseChat([{ content: "x" }], "f")).toThrow(/message 1/);
});

test("an aborted signal ends the completion, and so does leaving the iteration", async () => {
  const controller = new AbortController();
  const generation = base.generate({ prompt: "hello", maxTokens: 50, ignoreEnd: true, signal: controller.signal });
  expect((await generation.next()).done).toBe(false);
  controller.abort();
  let result = await generation.next();
  while (!result.done) result = await generation.next(); // pieces that were on their way
  expect(result.value.finishReason).toBe("cancelled");
  expect(result.value.completionTokens).toBeLessThan(50);
  for await (const _piece of base.generate({ prompt: "hello", maxTokens: 50, ignoreEnd: true })) break;
  expect((await base.complete({ prompt: "hello", maxTokens: 2, ignoreEnd: true })).completionTokens).toBe(2);
});
