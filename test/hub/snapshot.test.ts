/** Downloads against a hub on this machine. */

import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { snapshotName } from "../../src/files/snapshot-path.ts";
import { hubReference } from "../../src/hub/reference.ts";
import { type HubSettings, hubSettings } from "../../src/hub/settings.ts";
import { type HubContent, type SnapshotOptions, snapshot } from "../../src/hub/snapshot.ts";
import { COMMIT, type FakeHub, sha256, startHub } from "./server.ts";

const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const weights = Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) % 251);

const model = {
  "config.json": text({ model_type: "gpt2" }),
  "flax_model.msgpack": weights,
  "model.safetensors": weights,
  "onnx/model.onnx": weights,
  "pytorch_model.bin": weights,
  "tokenizer.json": text({}),
};

let hub: FakeHub;
let folder: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-hub-"));
  hub = await startHub({
    "models/org/tiny": { files: model },
    "models/org/gated": { files: model, token: "secret" },
    "models/org/adapter": {
      files: { "adapter_config.json": text({}), "adapter_model.safetensors": weights, "optimizer.pt": weights },
    },
    "models/org/evil": { files: { "config.json": text({}), "../../outside": text({}), "model.safetensors": weights } },
    "models/org/gguf": { files: { "model-q4.gguf": weights } },
    "datasets/org/many": {
      files: { "mrpc/train-00000-of-00001.parquet": weights, "mrpc/test.jsonl": weights, "cola/train.jsonl": weights },
    },
    "datasets/org/rows": { files: { "README.md": text(""), "data/train-00000-of-00001.parquet": weights } },
  });
});

afterEach(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, force: true });
});

function settings(more: Partial<HubSettings> = {}): HubSettings {
  return { endpoint: hub.endpoint, cache: join(folder, "hub"), token: null, offline: false, ...more };
}

function get(name: string, content: HubContent, more: Partial<HubSettings> = {}, options: SnapshotOptions = {}) {
  const reference = hubReference(name, content === "data" ? "datasets" : "models")!;
  return snapshot(settings(more), reference, content, options);
}

test("a model's files come into the standard cache, once, and others stay away", async () => {
  const path = await get("org/tiny", "model");
  expect(path).toBe(join(folder, "hub/models--org--tiny/snapshots", COMMIT));
  expect(snapshotName(path)).toEqual({ id: "org/tiny", commit: COMMIT });
  expect(readFileSync(join(path, "model.safetensors"))).toEqual(Buffer.from(weights));
  expect(lstatSync(join(path, "model.safetensors")).isSymbolicLink()).toBe(true);
  expect(existsSync(join(folder, "hub/models--org--tiny/blobs", sha256(weights)))).toBe(true);
  expect(readFileSync(join(folder, "hub/models--org--tiny/refs/main"), "utf8")).toBe(COMMIT);
  for (const other of ["flax_model.msgpack", "pytorch_model.bin", "onnx"])
    expect(existsSync(join(path, other))).toBe(false);
  hub.requests.length = 0;
  expect(await get("org/tiny", "model")).toBe(path);
  expect(hub.requests).toEqual(["GET /api/models/org/tiny/revision/main"]);
  expect(await get(`org/tiny@${COMMIT}`, "model")).toBe(path); // a commit never changes
  expect(hub.requests).toHaveLength(1);
});

test("without sizes and hashes in the listing, the files' headers tell them", async () => {
  hub.blobs = false;
  const path = await get("org/tiny", "model");
  expect(existsSync(join(folder, "hub/models--org--tiny/blobs", sha256(weights)))).toBe(true);
  expect(readFileSync(join(path, "config.json"))).toEqual(Buffer.from(model["config.json"]));
});

test("a broken connection is taken up where it broke", async () => {
  hub.cuts.set("model.safetensors", [70_000, 30_000]);
  const seen: number[] = [];
  const path = await get(
    "org/tiny",
    "model",
    {},
    { onProgress: ({ file, loaded }) => void (file === "model.safetensors" && seen.push(loaded)) },
  );
  expect(readFileSync(join(path, "model.safetensors"))).toEqual(Buffer.from(weights));
  expect(seen).toEqual(seen.toSorted((a, b) => a - b)); // no byte came twice
  expect(hub.requests.filter((each) => each.endsWith("model.safetensors"))).toHaveLength(3);
});

test("a partial file of an earlier run is completed", async () => {
  const blobs = join(folder, "hub/models--org--tiny/blobs");
  await get("org/adapter", "adapter"); // makes the cache folder
  const { mkdirSync } = await import("node:fs");
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, `${sha256(weights)}.incomplete`), weights.subarray(0, 150_000));
  const seen: number[] = [];
  await get(
    "org/tiny",
    "model",
    {},
    { onProgress: ({ file, loaded }) => void (file === "model.safetensors" && seen.push(loaded)) },
  );
  expect(seen[0]).toBe(150_000);
  expect(existsSync(join(blobs, `${sha256(weights)}.incomplete`))).toBe(false);
});

test("content of another hash is thrown away and named", async () => {
  hub.forged.set(
    "model.safetensors",
    weights.map((byte) => byte ^ 1),
  );
  await expect(get("org/tiny", "model")).rejects.toThrow(
    /org\/tiny\/model.safetensors: what came hashes to .* the hub says/,
  );
  hub.forged.clear();
  expect(readFileSync(join(await get("org/tiny", "model"), "model.safetensors"))).toEqual(Buffer.from(weights));
});

test("more bytes than announced are refused", async () => {
  hub.forged.set("model.safetensors", new Uint8Array(300_000));
  await expect(get("org/tiny", "model")).rejects.toThrow("sends more than the 200000 bytes");
});

test("offline and without a network, the cache serves", async () => {
  await expect(get("org/tiny", "model", { offline: true })).rejects.toThrow(/not in the cache .*HF_HUB_OFFLINE/);
  const path = await get("org/tiny", "model");
  hub.requests.length = 0;
  expect(await get("org/tiny", "model", { offline: true })).toBe(path);
  expect(hub.requests).toEqual([]);
  const warnings: string[] = [];
  const nowhere = { endpoint: "http://127.0.0.1:9" };
  expect(await get("org/tiny", "model", nowhere, { onWarning: (message) => warnings.push(message) })).toBe(path);
  expect(warnings).toEqual([expect.stringContaining("copy in the cache")]);
  await expect(get("org/adapter", "adapter", nowhere)).rejects.toThrow(
    /no answer \(.*Check the network and HF_ENDPOINT/,
  );
});

test("tokens go to the hub and no further; without one the error says what to do", async () => {
  await expect(get("org/gated", "model")).rejects.toThrow(/refuses access \(401\).*Set HF_TOKEN/);
  await get("org/gated", "model", { token: "secret" });
  expect(hub.leaked).toEqual([]);
});

test("adapters and data sets have their own files; what is missing is said", async () => {
  const adapter = await get("org/adapter", "adapter");
  expect(existsSync(join(adapter, "adapter_model.safetensors"))).toBe(true);
  expect(existsSync(join(adapter, "optimizer.pt"))).toBe(false);
  const data = await get("org/rows", "data");
  expect(existsSync(join(data, "data/train-00000-of-00001.parquet"))).toBe(true);
  const part = await get("org/many/mrpc", "data");
  expect(part.endsWith(join(COMMIT, "mrpc"))).toBe(true);
  expect(existsSync(join(part, "../cola"))).toBe(false);
  expect(await get("org/many/mrpc", "data", { offline: true })).toBe(part);
  await expect(get("org/many/rte", "data")).rejects.toThrow(/org\/many\/rte: the repository has no JSONL/);
  await expect(get("org/gguf", "model")).rejects.toThrow(/org\/gguf: the repository has no model.safetensors .*\.gguf/);
  await expect(get("org/nothing", "model")).rejects.toThrow(
    /org\/nothing: no such folder here, and no such repository/,
  );
  await expect(get("org/tiny@v9", "model")).rejects.toThrow(/org\/tiny@v9/);
});

test("a listing that leaves its folder is refused before anything is written", async () => {
  await expect(get("org/evil", "model")).rejects.toThrow("would leave its folder");
  expect(existsSync(join(folder, "hub"))).toBe(false);
});

test("names: ids have one slash, paths win, revisions stay inside", () => {
  expect(hubReference("org/name")).toEqual({ kind: "models", id: "org/name", revision: "main", inside: "" });
  expect(hubReference("org/name@refs/pr/1")?.revision).toBe("refs/pr/1");
  for (const other of [
    "name",
    "./org/name",
    "/org/name",
    "a/b/c",
    "org/name@../x",
    "org/..",
    "org/model.gguf",
    "src/hub",
    "embedded:gpt2-tiny",
    "my/data/train.jsonl",
  ])
    expect(hubReference(other)).toBeNull();
});

test("settings follow the variables of Hugging Face's tools", () => {
  expect(hubSettings({ HF_HOME: "/h", HF_TOKEN: " t ", HF_HUB_OFFLINE: "1", HF_ENDPOINT: "http://mirror/" })).toEqual({
    endpoint: "http://mirror",
    cache: join("/h", "hub"),
    token: "t",
    offline: true,
  });
  expect(hubSettings({ HF_HUB_CACHE: "/c", HF_HOME: "/nowhere" }).cache).toBe("/c");
  expect(hubSettings({ XDG_CACHE_HOME: "/x", HF_TOKEN_PATH: "/nowhere" }).cache).toBe(join("/x", "huggingface", "hub"));
});

test("a data set's name may go on with a folder, a file's path is a path", () => {
  expect(hubReference("org/name/part", "datasets")).toMatchObject({ id: "org/name", inside: "part" });
  expect(hubReference("my/data/train.jsonl", "datasets")).toBeNull();
  expect(hubReference("org/name/..", "datasets")).toBeNull();
});
