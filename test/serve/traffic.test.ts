import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
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

const COUNT = 50;
const TOKENS = 6;
const PROMPT = "hello world w7 w9 w11 w13 w15 w17 w19 w21 w8 w10 w12 w14 w16 w18 w20 w22"; // long enough for the prefix cache
const root = mkdtempSync(join(tmpdir(), "traffic-"));
const model = join(root, "tiny");
const store = join(root, "store");
let base: LoadedBase;
let server: Running;
/** What each content answers: the log probabilities of its first tokens. */
const answers: number[][] = [];
const contents: Adapter[] = [];

beforeAll(async () => {
  writeWordedModel(model);
  mkdirSync(store);
  base = await loadBase(model, { threads: 1 }, nodeRuntime);
  for (let i = 0; i < COUNT + 3; i++) {
    const targets = [["c_attn"], ["c_attn", "c_proj"], ["c_fc"]][i % 3]!;
    const adapter = randomAdapter(base.model, { r: 1 + (i % 5), lora_alpha: 16, target_modules: targets }, i + 1);
    contents.push(adapter);
    const { logprobs } = await base.complete({
      prompt: PROMPT,
      maxTokens: TOKENS,
      ignoreEnd: true,
      logprobs: 0,
      adapters: [[adapter, 1]],
    });
    answers.push(logprobs!.map(({ logprob }) => logprob));
    if (i < COUNT) savePeftFolder(join(store, `n${i}`), adapter);
  }
  // Room for a fifth of the adapters: the others come and go.
  const bytes = contents.reduce((sum, { tensors }) => sum + size(tensors), 0);
  server = await serving([
    ...["--model", model, "--adapters-dir", store, "--allow-runtime-lora"],
    ...["--adapter-bytes", String(Math.round(bytes / 5)), "--max-batch", "24"],
  ]);
});

afterAll(async () => {
  await server.stop();
  await base.close();
  rmSync(root, { recursive: true });
});

function size(tensors: Adapter["tensors"]): number {
  return [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** Which content answered: of all known ones the one whose log probabilities these are. */
async function answeredBy(name: string): Promise<number> {
  const body = { model: name, prompt: PROMPT, max_tokens: TOKENS, temperature: 0, ignore_eos: true, logprobs: 0 };
  const response = await server.post("/v1/completions", body);
  const { choices } = (await response.json()) as { choices: { logprobs: { token_logprobs: number[] } }[] };
  const got = choices[0]!.logprobs.token_logprobs;
  const matching = answers.flatMap((wanted, i) =>
    wanted.every((value, k) => Math.abs(value - got[k]!) < 1e-4) ? [i] : [],
  );
  expect(matching).toHaveLength(1);
  return matching[0]!;
}

test("200 concurrent requests over 50 adapters: each is answered by its own", async () => {
  const order = Array.from({ length: 200 }, (_, i) => (i * 37) % COUNT);
  const got = await Promise.all(order.map((i) => answeredBy(`n${i}`)));
  expect(got).toEqual(order);
});

test("a reload under one name: nothing asked for later is answered by the old contents, and nothing by a third", async () => {
  for (const i of [0, 1, 2]) savePeftFolder(join(root, "versions", `v${i}`), contents[COUNT + i]!);
  // The server's folder rule: what clients load lies in --adapters-dir.
  for (const i of [0, 1, 2]) renameSync(join(root, "versions", `v${i}`), join(store, `v${i}`));
  const load = (version: number) =>
    server.post("/v1/load_lora_adapter", {
      lora_name: "live",
      lora_path: join(store, `v${version}`),
      load_inplace: true,
    });
  expect(await (await load(0)).text()).toBe("Success: LoRA adapter 'live' added successfully.");
  const traffic: Promise<{ before: number; got: number }>[] = [];
  let loaded = 0;
  for (let round = 1; round <= 9; round++) {
    for (let i = 0; i < 6; i++) {
      const before = loaded;
      traffic.push(answeredBy("live").then((got) => ({ before, got })));
    }
    expect((await load(round % 3)).status).toBe(200);
    loaded = round % 3;
    expect(await answeredBy("live")).toBe(COUNT + loaded);
  }
  for (const { before, got } of await Promise.all(traffic)) {
    // The content at the time of the request, or the one whose load was under way.
    expect([COUNT + before, COUNT + ((before + 1) % 3)]).toContain(got);
  }
});

test("a folder of the adapters' directory that changes is read again", async () => {
  expect(await answeredBy("n3")).toBe(3);
  savePeftFolder(join(store, "n3"), contents[7]!);
  expect(await answeredBy("n3")).toBe(7);
  rmSync(join(store, "n3"), { recursive: true });
  expect((await server.post("/v1/completions", { model: "n3", prompt: "hello" })).status).toBe(404);
});

test("unloading under traffic: requests under way are answered, later ones are not", async () => {
  const body = { lora_name: "gone", lora_path: join(store, "n5") };
  expect((await server.post("/v1/load_lora_adapter", body)).status).toBe(200);
  expect((await server.post("/v1/load_lora_adapter", body)).status).toBe(400);
  // Those that come to the server after the unloading are refused.
  const under = Promise.allSettled(Array.from({ length: 10 }, () => answeredBy("gone")));
  await new Promise((resolve) => setTimeout(resolve, 5));
  const unloaded = await server.post("/v1/unload_lora_adapter", { lora_name: "gone" });
  expect(await unloaded.text()).toBe("Success: LoRA adapter 'gone' removed successfully.");
  expect((await server.post("/v1/completions", { model: "gone", prompt: "hello" })).status).toBe(404);
  expect((await server.post("/v1/unload_lora_adapter", { lora_name: "gone" })).status).toBe(404);
  for (const each of await under) if (each.status === "fulfilled") expect(each.value).toBe(5);
});

test("50 bad adapters loaded under traffic break no other request", async () => {
  const good = Array.from({ length: 40 }, (_, i) => answeredBy(`n${10 + (i % 5)}`));
  const bad = randomAdapter(base.model, { r: 2, target_modules: ["c_attn"] }, 99);
  const poisoned = new Map(
    [...bad.tensors].map(([key, tensor]) => [key, { ...tensor, data: tensor.data.map(() => Number.NaN) }]),
  );
  savePeftFolder(join(store, "nan"), { ...bad, tensors: poisoned });
  const statuses = await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      const path = i % 2 === 0 ? join(store, "nan") : join(store, "missing");
      return (await server.post("/v1/load_lora_adapter", { lora_name: `bad${i}`, lora_path: path })).status;
    }),
  );
  expect(new Set(statuses)).toEqual(new Set([400, 404]));
  expect(await Promise.all(good)).toEqual(Array.from({ length: 40 }, (_, i) => 10 + (i % 5)));
  const names = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] };
  expect(names.data.filter(({ id }) => id.startsWith("bad"))).toEqual([]);
});

test("memory: adapters beyond the limit have left it, and no request holds one", async () => {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const loaded = Number(/^lowrank_adapters_loaded (\d+)$/m.exec(text)![1]);
  expect(loaded).toBeLessThan(COUNT / 2);
  expect(text).toMatch(/^vllm:num_requests_running 0$/m);
});
