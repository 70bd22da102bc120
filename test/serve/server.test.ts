import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Adapter } from "../../src/adapters/adapter.ts";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { type Running, serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-"));
const model = join(root, "tiny");
const store = join(root, "store");
let base: LoadedBase;
let server: Running;
const adapters = new Map<string, Adapter>();

beforeAll(async () => {
  writeWordedModel(model);
  base = await loadBase(model, { threads: 1 }, nodeRuntime);
  const kinds = [
    { r: 4, target_modules: ["c_attn"] },
    { r: 2, target_modules: ["c_proj", "c_fc"] },
    { r: 3, use_dora: true },
  ];
  for (const [i, kind] of kinds.entries()) {
    const adapter = randomAdapter(base.model, { lora_alpha: 32, ...kind }, i + 1);
    adapters.set(`a${i}`, adapter);
    savePeftFolder(join(i === 0 ? root : store, `a${i}`), adapter);
  }
  server = await serving(["--model", model, "--adapter", `first=${join(root, "a0")}`, "--adapters-dir", store]);
});

afterAll(async () => {
  await server.stop();
  await base.close();
  rmSync(root, { recursive: true });
});

interface Answer {
  readonly choices: readonly { readonly text: string; readonly message?: { content: string }; finish_reason: string }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly message: string };
}

const ask = async (path: string, body: object): Promise<Answer> =>
  (await server.post(path, body)).json() as Promise<Answer>;

const own = (prompt: string, weights: readonly (readonly [string, number])[]) =>
  base.complete({
    prompt,
    maxTokens: 12,
    adapters: weights.map(([name, weight]) => [adapters.get(name)!, weight]),
  });

test.each([
  ["tiny", []],
  ["first", [["a0", 1]]],
  ["a1", [["a1", 1]]],
  ["a2", [["a2", 1]]],
  [
    "first@0.7,a1@-0.3",
    [
      ["a0", 0.7],
      ["a1", -0.3],
    ],
  ],
] as const)("model %s: text, usage and end are the library's", async (name, set) => {
  const wanted = await own("hello world", set);
  const { choices, usage } = await ask("/v1/completions", {
    model: name,
    prompt: "hello world",
    max_tokens: 12,
    temperature: 0,
  });
  expect(choices).toMatchObject([{ text: wanted.text, finish_reason: wanted.finishReason }]);
  expect(usage).toMatchObject({ prompt_tokens: 2, completion_tokens: wanted.completionTokens });
});

test("llama.cpp's lora field chooses adapters by number, and its scales hold for the base", async () => {
  const list = (await (await fetch(`${server.url}/lora-adapters`)).json()) as {
    id: number;
    name: string;
    scale: number;
  }[];
  expect(list[0]).toMatchObject({ id: 0, name: "first", scale: 0 });
  const wanted = (await own("hello", [["a0", 0.5]])).text;
  const body = { prompt: "hello", max_tokens: 12, temperature: 0 };
  expect((await ask("/v1/completions", { ...body, lora: [{ id: 0, scale: 0.5 }] })).choices[0]!.text).toBe(wanted);
  expect((await server.post("/lora-adapters", [{ id: 0, scale: 0.5 }])).status).toBe(200);
  expect((await ask("/v1/completions", body)).choices[0]!.text).toBe(wanted);
  await server.post("/lora-adapters", []);
  expect((await ask("/v1/completions", body)).choices[0]!.text).toBe((await own("hello", [])).text);
});

test("chat messages go through the template, tools with them; parts of text are joined", async () => {
  const messages = [{ role: "user", content: "hello world" }];
  const tools = [{ type: "function", function: { name: "f", parameters: {} } }];
  const wanted = await base.complete({ messages, tools, maxTokens: 9 });
  const body = { model: "tiny", max_completion_tokens: 9, temperature: 0, tools };
  const plain = await ask("/v1/chat/completions", { ...body, messages });
  expect(plain.choices).toMatchObject([{ message: { role: "assistant", content: wanted.text } }]);
  expect(plain.usage.prompt_tokens).toBe(wanted.promptTokens);
  const content = [
    { type: "text", text: "hello " },
    { type: "text", text: "world" },
  ];
  const parts = await ask("/v1/chat/completions", { ...body, messages: [{ role: "user", content }] });
  expect(parts.choices[0]!.message!.content).toBe(wanted.text);
});

async function events(path: string, body: object): Promise<Record<string, unknown>[]> {
  const response = await server.post(path, { ...body, stream: true });
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  const lines = (await response.text()).split("\n\n").filter((line) => line !== "");
  expect(lines.at(-1)).toBe("data: [DONE]");
  return lines.slice(0, -1).map((line) => JSON.parse(line.replace(/^data: /, "")) as Record<string, unknown>);
}

test("a stream's pieces are the whole answer's text, its last chunk the usage", async () => {
  const body = { model: "first", prompt: "hello", max_tokens: 20, temperature: 1, seed: 5, n: 3, logprobs: 2 };
  const whole = await ask("/v1/completions", body);
  const all = await events("/v1/completions", { ...body, stream_options: { include_usage: true } });
  const texts = ["", "", ""];
  for (const { choices } of all as unknown as { choices: { index: number; text: string }[] }[]) {
    for (const { index, text } of choices) texts[index] += text;
  }
  expect(texts).toEqual(whole.choices.map(({ text }) => text));
  expect(new Set(texts).size).toBe(3);
  expect(all.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
});

test("chat chunks tell the role first and the reason last", async () => {
  const all = await events("/v1/chat/completions", { messages: [{ role: "user", content: "hello" }], max_tokens: 4 });
  expect(all[0]).toMatchObject({ object: "chat.completion.chunk", choices: [{ delta: { role: "assistant" } }] });
  expect(all.at(-1)).toMatchObject({ choices: [{ delta: {}, finish_reason: expect.any(String) }] });
});

test("what the model cannot do is refused by name, also before a stream", async () => {
  const cases: [string, object, number, RegExp][] = [
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: "x" }], response_format: { type: "json_object" } },
      400,
      /no text can be held to a form/,
    ],
    ["/v1/chat/completions", { messages: [{ role: "system", content: "x" }], stream: true }, 400, /user first/],
    ["/v1/chat/completions", { messages: [] }, 400, /messages/],
    ["/v1/completions", { prompt: "x", echo: true }, 400, /echo/],
    ["/v1/completions", { prompt: "hello ".repeat(500) }, 400, /takes/],
    ["/v1/completions", { prompt: [1e9] }, 400, /token/],
    ["/v1/completions", { prompt: "x", temperature: -1 }, 400, /temperature/],
    ["/v1/completions", { prompt: "x", n: 1e6 }, 400, /n:/],
    ["/v1/completions", { prompt: "x", model: "other" }, 404, /does not exist/],
    ["/v1/completions", { prompt: "x", lora: [{ id: 77, scale: 1 }] }, 400, /no adapter 77/],
    ["/v1/load_lora_adapter", { lora_name: "x", lora_path: "/tmp" }, 403, /--allow-runtime-lora/],
  ];
  for (const [path, body, status, message] of cases) {
    const response = await server.post(path, body);
    expect([path, response.status, ((await response.json()) as Answer).error!.message]).toEqual([
      path,
      status,
      expect.stringMatching(message),
    ]);
  }
  expect((await server.post("/v1/completions", "{")).status).toBe(400);
});

test("models, health and metrics", async () => {
  const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as {
    data: { id: string; parent: string }[];
  };
  expect(data[0]).toMatchObject({ id: "tiny", parent: null });
  expect(data[1]).toMatchObject({ id: "first", parent: "tiny" });
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  expect((await fetch(`${server.url}/ready`)).status).toBe(200);
  const text = await (await fetch(`${server.url}/metrics`)).text();
  expect(text).toMatch(
    /^vllm:lora_requests_info\{max_lora="16",running_lora_adapters="",waiting_lora_adapters=""\} \d/m,
  );
  expect(text).toMatch(/^lorax_request_success [1-9]/m);
});

test("a client that goes away frees its place; the server ends cleanly with a stream under way", async () => {
  const other = await serving(["--model", model, "--max-batch", "1", "--max-queue", "1"]);
  const body = { prompt: "hello", max_tokens: 60, ignore_eos: true, stream: true };
  const leaving = new AbortController();
  const first = await fetch(`${other.url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  leaving.abort();
  void first;
  const second = await other.post("/v1/completions", body);
  expect(second.status).toBe(200);
  const ended = other.stop();
  const text = await second.text();
  expect(text).toContain("[DONE]");
  expect(await ended).toBe(0);
});

test("more completions than there is room for are refused with 429 and when to come again", async () => {
  const other = await serving(["--model", model, "--max-batch", "2", "--max-queue", "2"]);
  const body = { prompt: "hello", max_tokens: 50, ignore_eos: true };
  const answers = await Promise.all(Array.from({ length: 12 }, () => other.post("/v1/completions", body)));
  const statuses = answers.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(4);
  const refused = answers.find(({ status }) => status === 429);
  expect(refused?.headers.get("retry-after")).toBe("1");
  expect(await other.stop()).toBe(0);
});
