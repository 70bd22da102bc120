import { execFileSync } from "node:child_process";
import { cpSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { LowrankError } from "../../src/errors.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { keyCheck, namesLoopback } from "../../src/serve/auth.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { type Running, serving } from "./running.ts";

const KEY = "a-key-of-some-length";
const root = mkdtempSync(join(tmpdir(), "attacks-"));
const model = join(root, "tiny");
const store = join(root, "store");
let base: LoadedBase;
let open: Running;
let locked: Running;

beforeAll(async () => {
  writeWordedModel(model);
  base = await loadBase(model, { threads: 1 }, nodeRuntime);
  const adapter = randomAdapter(base.model, { r: 2, target_modules: ["c_attn"] }, 1);
  savePeftFolder(join(store, "good"), adapter);
  savePeftFolder(join(root, "outside"), adapter);
  open = await serving([
    ...["--model", model, "--adapters-dir", store, "--allow-runtime-lora"],
    ...["--max-body-bytes", "20000", "--max-lora-rank", "8"],
  ]);
  locked = await serving(["--model", model, "--api-key", KEY, "--admin-key", "root", "--allow-runtime-lora"]);
});

afterAll(async () => {
  await open.stop();
  await locked.stop();
  await base.close();
  rmSync(root, { recursive: true });
});

/** The status of a request whose path goes out as it is written. */
function raw(url: string, method: string, path: string, headers: Record<string, string> = {}): Promise<number> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ hostname, port, method, path, headers, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    sent.on("error", reject);
    sent.end();
  });
}

test("every route but health and ready needs a key, whatever its spelling", async () => {
  const random = randomStream(3);
  const known = [
    "v1",
    "models",
    "completions",
    "chat",
    "metrics",
    "lora-adapters",
    "health",
    "..",
    ".",
    "%2e%2e",
    "",
    "%00",
    "x",
  ];
  const paths = [
    "/v1/models",
    "/metrics",
    "/lora-adapters",
    "/v1/load_lora_adapter",
    "/v1/completions",
    "/health/",
    "/HEALTH",
    "//health",
    "/health/../metrics",
    "/ready%2f..%2fmetrics",
    "/health;/metrics",
  ];
  for (let i = 0; i < 150; i++) {
    paths.push(
      `/${Array.from({ length: 1 + random.integer(4) }, () => known[random.integer(known.length)]).join("/")}`,
    );
  }
  for (const path of paths) {
    for (const method of ["GET", "POST"] as const) {
      const status = await raw(locked.url, method, path);
      if (/^\/(\.\/)*(health|ready)$/.test(path) && method === "GET") expect(status).toBe(200);
      // A path whose dots lead to an open route is that route.
      else if (![401, 404, 400].includes(status))
        expect([path, new URL(path, "http://x").pathname]).toEqual([path, "/health"]);
    }
  }
  for (const method of ["PUT", "DELETE", "OPTIONS", "PATCH"])
    expect(await raw(locked.url, method, "/v1/models")).toBe(401);
});

test("keys: only a whole one opens, and the admin's are apart", async () => {
  const check = keyCheck([KEY, "other"]);
  expect(check(`Bearer ${KEY}`)).toBe(true);
  expect(check("bearer other")).toBe(true);
  for (const header of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    KEY,
    `Bearer ${KEY} `,
    `Bearer ${KEY.slice(1)}`,
    `Bearer ${KEY}x`,
    `Basic ${KEY}`,
  ])
    expect(check(header)).toBe(false);
  const load = { lora_name: "x", lora_path: store };
  const asUser = await locked.post("/v1/load_lora_adapter", load, { authorization: `Bearer ${KEY}` });
  expect(asUser.status).toBe(401);
  expect((await locked.post("/lora-adapters", [], { authorization: `Bearer ${KEY}` })).status).toBe(401);
  expect((await locked.post("/lora-adapters", [], { authorization: "Bearer root" })).status).toBe(200);
  const asked = await locked.post(
    "/v1/completions",
    { prompt: "hello", max_tokens: 1 },
    { authorization: `Bearer ${KEY}` },
  );
  expect(asked.status).toBe(200);
});

test("without a key: loopback only, and no other name for it", async () => {
  await expect(serving(["--model", model, "--host", "0.0.0.0"])).rejects.toThrow(/ended with 2.*loopback/s);
  expect(await raw(open.url, "GET", "/v1/models", { host: "evil.example" })).toBe(403);
  expect(await raw(open.url, "GET", "/v1/models", { host: "localhost:1" })).toBe(200);
  expect(namesLoopback("127.0.0.1.evil.example")).toBe(false);
  expect(namesLoopback(undefined)).toBe(false);
});

test("names and paths that lead elsewhere find nothing", async () => {
  symlinkSync(join(root, "outside"), join(store, "linked"));
  for (const name of ["hard", "soft"]) {
    mkdirSync(join(store, name));
    cpSync(join(store, "good/adapter_config.json"), join(store, name, "adapter_config.json"));
  }
  linkSync(join(root, "outside/adapter_model.safetensors"), join(store, "hard/adapter_model.safetensors"));
  symlinkSync(join(root, "outside/adapter_model.safetensors"), join(store, "soft/adapter_model.safetensors"));
  mkdirSync(join(store, "pipe"));
  cpSync(join(store, "good/adapter_config.json"), join(store, "pipe/adapter_config.json"));
  execFileSync("mkfifo", [join(store, "pipe/adapter_model.safetensors")]);
  writeFileSync(join(store, "file"), "");
  const names = [
    "..",
    ".",
    "../outside",
    "good/../../outside",
    "%2e%2e/outside",
    "..%2foutside",
    "good\0",
    "\\\\host\\share",
    "C:\\x",
    join(root, "outside"),
    "/etc/passwd",
    "linked",
    "hard",
    "soft",
    "pipe",
    "file",
    "__proto__",
    "constructor",
    "good/",
    "a".repeat(500),
    ".hidden",
    "-good",
    "google/gemma-2b",
    "http://127.0.0.1/x",
  ];
  for (const name of names) {
    const response = await open.post("/v1/completions", { model: name, prompt: "hello", max_tokens: 1 });
    expect([name, [400, 404].includes(response.status)]).toEqual([name, true]);
    if (!name.includes(root)) expect(await response.text()).not.toContain(root);
    const path = name.startsWith("/") ? name : join(store, name.replaceAll("\0", ""));
    const loaded = await open.post("/v1/load_lora_adapter", { lora_name: "evil", lora_path: path });
    if (path !== join(store, "good") && path !== `${join(store, "good")}/`)
      expect([path, [400, 404].includes(loaded.status)]).toEqual([path, true]);
    else await open.post("/v1/unload_lora_adapter", { lora_name: "evil" });
    if (/^[A-Za-z][\w-]{0,99}$/.test(name)) continue; // a name like any other, were there such an adapter
    const named = await open.post("/v1/load_lora_adapter", { lora_name: name, lora_path: join(store, "good") });
    expect([name, named.status]).toEqual([name, 400]);
  }
});

test("an address as a path is not fetched", async () => {
  let asked = 0;
  const trap = createServer((_request, response) => {
    asked++;
    response.end();
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => trap.once("listening", resolve));
  const url = `http://127.0.0.1:${(trap.address() as AddressInfo).port}/adapter`;
  expect((await open.post("/v1/load_lora_adapter", { lora_name: "far", lora_path: url })).status).toBe(404);
  expect((await open.post("/v1/completions", { model: url, prompt: "x" })).status).toBe(404);
  const content = [{ type: "image_url", image_url: { url } }];
  expect((await open.post("/v1/chat/completions", { messages: [{ role: "user", content }] })).status).toBe(400);
  expect(asked).toBe(0);
  trap.close();
});

test("bodies and headers beyond their limits are refused, sent whole or in parts", async () => {
  expect((await open.post("/v1/completions", { prompt: "x".repeat(30_000) })).status).toBe(413);
  let pulled = 0;
  const endless = new ReadableStream({
    pull: (controller) => {
      pulled += 5000;
      controller.enqueue(new TextEncoder().encode(`{"prompt": "${"y".repeat(5000)}`));
    },
  });
  const sent = fetch(`${open.url}/v1/completions`, { method: "POST", body: endless, duplex: "half" } as RequestInit);
  // A client that is still sending when the connection ends may not come to read the answer.
  const outcome = await sent.then(
    ({ status }) => status,
    () => "cut off",
  );
  expect([413, "cut off"]).toContain(outcome);
  expect(pulled).toBeLessThan(50e6);
  expect(await raw(open.url, "GET", "/health", { "x-long": "z".repeat(20_000) })).toBe(431);
  expect((await open.post("/v1/completions", "[".repeat(10_000))).status).toBe(400);
  expect(
    (await open.post("/v1/completions", '{"prompt": "hello", "__proto__": {"model": "good"}, "max_tokens": 1}')).status,
  ).toBe(200);
});

test("unknown names take no room, and do not become labels", async () => {
  await Promise.all(
    Array.from({ length: 300 }, (_, i) => open.post("/v1/completions", { model: `made-up-${i}`, prompt: "x" })),
  );
  const { data } = (await (await fetch(`${open.url}/v1/models`)).json()) as { data: unknown[] };
  expect(data.length).toBeLessThan(5);
  expect(await (await fetch(`${open.url}/metrics`)).text()).not.toContain("made-up");
});

test("an adapter's file cut at every place is an error, never a shorter adapter", async () => {
  const folder = join(root, "cut");
  cpSync(join(store, "good"), folder, { recursive: true });
  const file = join(folder, "adapter_model.safetensors");
  const whole = readFileSync(file);
  const places = new Set([
    ...Array.from({ length: 200 }, (_, i) => i),
    ...Array.from({ length: 100 }, (_, i) => whole.length - 1 - i),
  ]);
  for (let at = 0; at < whole.length; at += 97) places.add(at);
  for (const place of places) {
    writeFileSync(file, whole.subarray(0, place));
    await expect(base.adapter(folder)).rejects.toBeInstanceOf(LowrankError);
  }
  writeFileSync(file, Buffer.concat([whole, Buffer.alloc(1)]));
  await expect(base.adapter(folder)).rejects.toThrow();
  writeFileSync(file, whole);
  await base.adapter(folder);
});

test("adapters of another base, of no rank or too much, with NaN or a pickle that runs code are refused by name", async () => {
  const config = JSON.parse(readFileSync(join(store, "good/adapter_config.json"), "utf8")) as Record<string, unknown>;
  const make = (name: string, fields: Record<string, unknown>): void => {
    cpSync(join(store, "good"), join(store, name), { recursive: true });
    writeFileSync(join(store, name, "adapter_config.json"), JSON.stringify({ ...config, ...fields }));
  };
  make("rank-other", { r: 3 });
  make("rank-none", { r: 0 });
  make("elsewhere", { target_modules: ["q_proj"] });
  make("unknown-method", { peft_type: "EVIL" });
  make("no-json", {});
  writeFileSync(join(store, "no-json/adapter_config.json"), "{");
  savePeftFolder(join(store, "too-wide"), randomAdapter(base.model, { r: 9, target_modules: ["c_attn"] }, 3));
  make("pickled", {});
  rmSync(join(store, "pickled/adapter_model.safetensors"));
  writeFileSync(join(store, "pickled/adapter_model.bin"), Buffer.from("cos\nsystem\n(S'touch owned'\ntR.", "latin1"));
  for (const name of ["rank-other", "rank-none", "elsewhere", "unknown-method", "no-json", "too-wide", "pickled"]) {
    const response = await open.post("/v1/completions", { model: name, prompt: "hello", max_tokens: 1 });
    const { error } = (await response.json()) as { error: { message: string } };
    expect([name, response.status]).toEqual([name, 400]);
    expect(error.message).toContain(name);
    expect(error.message).not.toContain(root);
  }
  const good = await open.post("/v1/completions", { model: "good", prompt: "hello", max_tokens: 1 });
  expect(good.status).toBe(200);
});
