import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FormatError, ModelError } from "../../src/errors.ts";
import { writeJsonAtomic } from "../../src/files/atomic.ts";
import { openCheckpoint } from "../../src/files/checkpoint.ts";
import { readJsonFile, readJsonObject } from "../../src/files/json-file.ts";
import { readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

let folder = "";
const at = (name: string): string => join(folder, name);
const put = (name: string, text = ""): void => writeFileSync(at(name), text);
const shard = (name: string, ...tensors: string[]): void =>
  writeSafetensors(
    at(name),
    tensors.map((tensor) => [tensor, floatTensor([1], Float32Array.of(tensor.length))]),
    { format: "pt" },
  );
const index = (weightMap: unknown): void =>
  writeJsonAtomic(at("model.safetensors.index.json"), { metadata: { total_size: 1 }, weight_map: weightMap });
/** The error's text, after checking its class. */
const refusal = (): string => {
  try {
    openCheckpoint(folder);
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return (error as ModelError).message;
  }
  return "opened";
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-checkpoint-"));
  put("config.json", '{"model_type": "gpt2", "n_embd": 64}');
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a single file: configuration and tensors", () => {
  shard("model.safetensors", "wte.weight", "__proto__");
  const checkpoint = openCheckpoint(folder);
  expect(checkpoint.folder).toBe(folder);
  expect(checkpoint.config).toEqual({ model_type: "gpt2", n_embd: 64 });
  expect([...checkpoint.tensors.keys()]).toEqual(["__proto__", "wte.weight"]);
  expect(readTensors(checkpoint).get("wte.weight")).toEqual(floatTensor([1], Float32Array.of(10)));
});

test("shards: each tensor is found in its file, in subfolders too", () => {
  mkdirSync(at("parts"));
  shard("model-1.safetensors", "a", "bb");
  shard("parts/2.safetensors", "ccc");
  writeFileSync(
    at("model.safetensors.index.json"),
    '{"weight_map":{"a":"model-1.safetensors","bb":"model-1.safetensors","ccc":"parts/2.safetensors"}}',
  );
  const tensors = readTensors(openCheckpoint(folder));
  expect([...tensors].map(([name, { data }]) => [name, data[0]])).toEqual([
    ["a", 1],
    ["bb", 2],
    ["ccc", 3],
  ]);
});

test("Hugging Face's cache, where every file is a link into blobs, opens; without its blobs it says so", () => {
  const snapshot = at("models--org--name/snapshots/abc");
  mkdirSync(snapshot, { recursive: true });
  mkdirSync(at("models--org--name/blobs"));
  shard("models--org--name/blobs/w", "a");
  writeJsonAtomic(at("models--org--name/blobs/c"), { model_type: "llama" });
  symlinkSync("../../blobs/w", join(snapshot, "model.safetensors"));
  symlinkSync("../../blobs/c", join(snapshot, "config.json"));
  const entry = openCheckpoint(snapshot).tensors.get("a")!;
  expect(entry.path).toMatch(/blobs\/w$/);
  rmSync(at("models--org--name/blobs/w"));
  expect(() => openCheckpoint(snapshot)).toThrow(/model\.safetensors is a symbolic link to a file that does not exist/);
});

test("all missing shards are listed in one error", () => {
  shard("1.safetensors", "a");
  index({ a: "1.safetensors", b: "2.safetensors", c: "3.safetensors" });
  expect(refusal()).toContain(
    "2 of 3 files that model.safetensors.index.json names are missing: 2.safetensors, 3.safetensors.",
  );
});

test("all disagreements between index and shards are listed in one error", () => {
  shard("1.safetensors", "a", "extra");
  shard("2.safetensors", "b", "moved");
  index({ a: "1.safetensors", b: "2.safetensors", absent: "2.safetensors", moved: "1.safetensors" });
  const message = refusal();
  expect(message).toContain('"extra": in 1.safetensors, but the index lacks it');
  expect(message).toContain('"moved": in 2.safetensors, but the index says 1.safetensors');
  expect(message).toContain('"absent": the index says 2.safetensors, which lacks it');
});

test.each([
  "../x.safetensors",
  "a/../../x",
  "/etc/passwd",
  "",
  ".",
  "a//b",
  "C:\\x",
  "..\\x",
  "a\0b",
  7,
  null,
  { a: 1 },
])("an index that names %j is refused", (name) => {
  index({ a: name });
  expect(refusal()).toMatch(/tensor "a" is mapped to .* inside the folder/);
});

test.each([
  ["[]", "found an array, needed a JSON object"],
  ["{}", "weight_map is missing"],
  ['{"weight_map":[]}', "weight_map is missing"],
  ['{"weight_map":{}}', "weight_map is empty"],
  ["{", "not valid JSON"],
])("a hostile index, %s, is refused", (text, message) => {
  put("model.safetensors.index.json", text);
  expect(refusal()).toContain(message);
});

test("an index may name a tensor __proto__", () => {
  shard("1.safetensors", "__proto__");
  put("model.safetensors.index.json", '{"weight_map":{"__proto__":"1.safetensors"}}');
  expect(openCheckpoint(folder).tensors.has("__proto__")).toBe(true);
});

test("a folder that is absent, or a file, is refused", () => {
  expect(() => openCheckpoint(at("absent"))).toThrow(ModelError);
  expect(() => openCheckpoint(at("absent"))).toThrow(/absent \(ENOENT\): no such file or folder/);
  expect(() => openCheckpoint(at("config.json"))).toThrow(/ENOTDIR/);
});

test("a configuration that is missing or broken is refused, with the place", () => {
  rmSync(at("config.json"));
  put("README.md");
  expect(refusal()).toContain("no config.json; it holds README.md.");
  put("config.json", '{\n  "n_embd": 64,\n}');
  expect(refusal()).toMatch(/config\.json: not valid JSON \(line 3, column 1: /);
  put("config.json", "3");
  expect(refusal()).toContain("found a number, needed a JSON object");
});

test("pickled weights are refused with the command that converts them", () => {
  put("pytorch_model-1.bin");
  put("pytorch_model-2.bin");
  put("training_args.bin");
  const message = refusal();
  expect(message).toContain(
    "holds pickled weights (pytorch_model-1.bin, pytorch_model-2.bin), which this reader refuses",
  );
  expect(message).toContain(
    "for f in ['pytorch_model-1.bin', 'pytorch_model-2.bin'] for k, v in torch.load(f, map_location='cpu', weights_only=True)",
  );
});

test("a pickled file's name never enters the command when a shell could read it otherwise", () => {
  put("$(reboot).pt");
  expect(refusal().split("\n")[1]).not.toContain("reboot");
});

test("a folder without weights lists what it holds; an adapter is told apart", () => {
  put("optimizer.pt");
  expect(refusal()).toContain("it holds config.json, optimizer.pt.");
  put("adapter_model.safetensors");
  expect(refusal()).toContain("holds an adapter, not a model");
});

test("a damaged safetensors file stays a FormatError that names it", () => {
  put("model.safetensors", "{}");
  expect(() => openCheckpoint(folder)).toThrow(FormatError);
  expect(() => openCheckpoint(folder)).toThrow(at("model.safetensors"));
});

test("JSON as Python writes it is read: byte order mark, NaN, Infinity", () => {
  put("a.json", '\ufeff{"NaN": [NaN, Infinity, -Infinity, "NaN \\" Infinity"]}');
  expect(readJsonFile(at("a.json"))).toEqual({ NaN: [null, Infinity, -Infinity, 'NaN " Infinity'] });
});

test("JSON files that cannot be read are named with the reason", () => {
  put("a.json", "[1, 2");
  expect(() => readJsonFile(at("a.json"))).toThrow(/a\.json: not valid JSON \(line 1, column 6: /);
  put("a.json", '{"a": tru}');
  expect(() => readJsonFile(at("a.json"))).toThrow(FormatError);
  expect(() => readJsonFile(at("a.json"), 5)).toThrow("10 bytes, but a JSON file may have 5 here");
  expect(() => readJsonFile(folder)).toThrow("needed a file");
  expect(() => readJsonObject(at("b.json"))).toThrow("cannot read");
  writeFileSync(at("a.json"), Uint8Array.of(0x22, 0xff, 0x22));
  expect(() => readJsonFile(at("a.json"))).toThrow("not valid UTF-8");
});
