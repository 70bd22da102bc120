import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateText, streamText } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";

const root = mkdtempSync(join(tmpdir(), "lowrank-ai-"));
const worded = join(root, "tiny");
const adapters = { tales: join(root, "tales"), news: join(root, "news") };
// As built: its thread is a file of its own.
const DIST = new URL("../../dist/ai/provider.js", import.meta.url).href;
const { createLowrank } = (await import(DIST)) as typeof import("../../src/ai/provider.ts");
const chat = createLowrank({ model: worded, threads: 1, adapters });
const embedded = createLowrank({ model: "embedded:gpt2-tiny", threads: 1 });
let base: LoadedBase;

beforeAll(async () => {
  writeWordedModel(worded);
  base = await loadBase(worded, { threads: 1 }, nodeRuntime);
  for (const [i, path] of Object.values(adapters).entries()) {
    savePeftFolder(path, randomAdapter(base.model, { r: 4, lora_alpha: 32, target_modules: ["c_attn"] }, i + 1));
  }
});
afterAll(async () => {
  await Promise.all([base.close(), chat.close(), embedded.close()]);
  rmSync(root, { recursive: true });
});

const prompt = "Call me Ishmael. Some years ago";

test("the embedded base: generateText and streamText give the library's text, usage and end", async () => {
  const own = await loadBase("embedded:gpt2-tiny", { threads: 1 }, nodeRuntime);
  const wanted = await own.complete({ prompt, maxTokens: 16 });
  await own.close();
  const model = embedded.completion("gpt2-tiny");
  const whole = await generateText({ model, prompt, maxOutputTokens: 16 });
  expect(whole.text).toBe(wanted.text);
  expect(whole.finishReason).toBe("length");
  expect(whole.usage).toMatchObject({ inputTokens: wanted.promptTokens, outputTokens: 16 });
  const stream = streamText({ model, prompt, maxOutputTokens: 16 });
  const deltas: string[] = [];
  for await (const delta of stream.textStream) deltas.push(delta);
  expect(deltas.length).toBeGreaterThan(4);
  expect(deltas.join("")).toBe(wanted.text);
  expect(await stream.finishReason).toBe("length");
  expect((await stream.usage).outputTokens).toBe(16);
});

test("stop sequences, sampling and seeds are the library's", async () => {
  const model = embedded.completion();
  const { text } = await generateText({ model, prompt, maxOutputTokens: 16 });
  const stop = text.trim().split(" ")[2]!;
  const cut = await generateText({ model, prompt, maxOutputTokens: 16, stopSequences: [stop] });
  expect(cut.text).toBe(text.slice(0, text.indexOf(stop)));
  expect(cut.finishReason).toBe("stop");
  const draw = (seed: number) =>
    generateText({ model, prompt, maxOutputTokens: 16, temperature: 1, topK: 50, seed }).then((each) => each.text);
  expect(await draw(1)).toBe(await draw(1));
  expect(await draw(1)).not.toBe(await draw(2));
  const lowrank = { repetitionPenalty: 1.5 };
  const changed = await generateText({ model, prompt, maxOutputTokens: 16, providerOptions: { lowrank } });
  expect(changed.text).not.toBe(text);
  await expect(generateText({ model, prompt, providerOptions: { lowrank: { beans: 2 } } })).rejects.toThrow(/beans/);
});

test("an aborted call ends with the signal's reason, before and while it streams", async () => {
  const model = embedded.completion();
  const gone = AbortSignal.abort();
  await expect(generateText({ model, prompt, abortSignal: gone, maxRetries: 0 })).rejects.toThrow(/abort/i);
  const controller = new AbortController();
  const { stream } = await model.doStream({
    prompt: [{ role: "user", content: [{ type: "text", text: prompt }] }],
    maxOutputTokens: 900,
    abortSignal: controller.signal,
  });
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    for await (const part of stream) {
      seen.push(part.type);
      if (part.type === "text-delta") controller.abort();
    }
  };
  await expect(read()).rejects.toThrow(/abort/i);
  expect(seen).not.toContain("finish");
  let aborted = 0;
  const later = new AbortController();
  const watched = streamText({
    model,
    prompt,
    maxOutputTokens: 900,
    abortSignal: later.signal,
    onAbort: () => void aborted++,
  });
  for await (const _ of watched.textStream) later.abort();
  expect(aborted).toBe(1);
});

test.each([
  ["tiny", []],
  ["tales", [["tales", 1]]],
  [
    "tales@0.7,news@-0.3",
    [
      ["tales", 0.7],
      ["news", -0.3],
    ],
  ],
] as const)("chat with %s: messages through the template, with the adapters' weighted sum", async (name, set) => {
  const messages = [{ role: "user" as const, content: "hello world" }];
  const weighted = await Promise.all(
    set.map(async ([each, weight]) => [await base.adapter(adapters[each]), weight] as const),
  );
  const wanted = await base.complete({ messages, maxTokens: 12, adapters: weighted });
  const { text, usage } = await generateText({ model: chat(name), messages, maxOutputTokens: 12 });
  expect(text).toBe(wanted.text);
  expect(usage.inputTokens).toBe(wanted.promptTokens);
});

test("what it cannot do is said: names, parts, templates", async () => {
  expect(() => chat("other")).toThrow(/no model other. There are tiny, tales, news/);
  expect(() => chat("toString")).toThrow(/no model toString/);
  expect(() => chat.embeddingModel("tales")).toThrow(/No such embeddingModel/);
  const image = { type: "image" as const, image: new Uint8Array([137, 80, 78, 71]) };
  const pictured = [{ role: "user" as const, content: [image] }];
  await expect(generateText({ model: chat("tales"), messages: pictured })).rejects.toThrow(/reads text only/);
  await expect(generateText({ model: embedded(), prompt })).rejects.toThrow(/no chat template/);
  await expect(generateText({ model: embedded.completion(), system: "Be kind", prompt })).rejects.toThrow(/2 messages/);
});

test("an adapter's folder that cannot be read fails the call; the next call tries again", async () => {
  const late = join(root, "late");
  const provider = createLowrank({ model: worded, threads: 1, adapters: { late } });
  const ask = () => generateText({ model: provider("late"), prompt: "hello", maxOutputTokens: 2 });
  await expect(ask()).rejects.toThrow(/late/);
  savePeftFolder(late, randomAdapter(base.model, { r: 2, lora_alpha: 2, target_modules: ["c_attn"] }, 7));
  expect((await ask()).finishReason).toBe("length");
  await provider.close();
  expect((await ask()).finishReason).toBe("length"); // closed, it loads again
  await provider.close();
});
