import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { FormatError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/files/checkpoint.ts";
import { readTensors } from "../../src/files/safetensors.ts";
import { openTorchFile, parseTorchFile } from "../../src/files/torch-file.ts";
import { randomStream } from "../../src/tensor/random.ts";

const fixture = (name: string): string => join(import.meta.dirname, "torch", name);
const bytesOf = (name: string): Buffer => readFileSync(fixture(name));

function refusal(bytes: Uint8Array): string {
  try {
    parseTorchFile(bytes, "file.bin");
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return (error as FormatError).message;
  }
  return "opened";
}

test.each(["state.bin", "legacy.bin"])("%s: every type, tied tensors, slices, scalars, empty tensors", (name) => {
  const { tensors } = openTorchFile(fixture(name));
  const values = readTensors({ tensors });
  expect([...tensors.keys()].slice(0, 5)).toEqual(["wte.weight", "lm_head.weight", "row", "scalar", "empty"]);
  expect([...values.get("wte.weight")!.data]).toEqual(Array.from({ length: 12 }, (_, i) => i / 4));
  expect(tensors.get("lm_head.weight")!.offset).toBe(tensors.get("wte.weight")!.offset);
  expect([...values.get("row")!.data]).toEqual([0.75, 1, 1.25]);
  expect(values.get("scalar")).toMatchObject({ shape: [], dtype: "f32" });
  expect(values.get("empty")!.shape).toEqual([0, 3]);
  const types = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];
  expect(types.map((type) => values.get(type)!.dtype)).toEqual([
    "f32",
    "f64",
    "f16",
    "bf16",
    "i64",
    "i32",
    "i16",
    "i8",
    "u8",
    "bool",
  ]);
  expect([...values.get("int64")!.data]).toEqual([0n, 1n, 2n, 100n]);
  expect([...values.get("bfloat16")!.data]).toEqual([0, 0x3f80, 0x4000, 0x42c8]);
});

test("a state dict that a training script wrapped, one of a module, and protocol 4", () => {
  expect([...openTorchFile(fixture("wrapped.pt")).tensors.keys()]).toEqual(["a"]);
  expect([...openTorchFile(fixture("module.pth")).tensors.keys()]).toEqual(["weight", "bias"]);
  expect([...openTorchFile(fixture("protocol4.pt")).tensors.keys()]).toEqual(["a"]);
});

test("views with gaps and pickled modules are refused by name", () => {
  expect(refusal(bytesOf("view.pt"))).toContain('"turned": it is a view (shape [3,4], strides [1,3])');
  expect(refusal(bytesOf("object.pt"))).toContain('the global "torch.nn.modules.linear.Linear"');
});

test("folders of models and adapters open without safetensors files", () => {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-torch-"));
  try {
    writeFileSync(join(folder, "config.json"), "{}");
    copyFileSync(fixture("state.bin"), join(folder, "shard.bin"));
    const names = [...openTorchFile(fixture("state.bin")).tensors.keys()];
    const index = { weight_map: Object.fromEntries(names.map((name) => [name, "shard.bin"])) };
    writeFileSync(join(folder, "pytorch_model.bin.index.json"), JSON.stringify(index));
    const tied = openCheckpoint(folder).tensors;
    expect([tied.size, tied.has("wte.weight"), tied.has("lm_head.weight"), tied.has("row")]).toEqual([
      14,
      true,
      false,
      true,
    ]);
    writeFileSync(join(folder, "config.json"), '{"tie_word_embeddings": false}');
    expect(openCheckpoint(folder).tensors.size).toBe(15);
    copyFileSync(fixture("module.pth"), join(folder, "pytorch_model.bin"));
    expect([...openCheckpoint(folder).tensors.keys()]).toEqual(["weight", "bias"]);
    writeFileSync(join(folder, "adapter_config.json"), '{"peft_type": "LORA"}');
    copyFileSync(fixture("module.pth"), join(folder, "adapter_model.bin"));
    expect(openPeftFolder(folder).tensors.size).toBe(2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A file of the old form whose value is the pickle `body`. */
function legacy(...body: readonly (string | readonly number[])[]): Buffer {
  const bytes = bytesOf("legacy.bin");
  // The value is the fourth pickle: behind the magic number, the version and the system's dictionary.
  let at = 0;
  for (let i = 0; i < 3; i++) at = bytes.indexOf(Buffer.from([0x2e, 0x80, 2]), at) + 1;
  return Buffer.concat([
    bytes.subarray(0, at),
    ...body.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part))),
  ]);
}

/** SHORT_BINUNICODE */
const text = (value: string): string => `\x8c${String.fromCharCode(value.length)}${value}`;

test.each<readonly [string, readonly (string | readonly number[])[], string]>([
  ["GLOBAL os.system, REDUCE", ["\x80\x02cos\nsystem\n", "X\x02\0\0\0id", "\x85R."], 'the global "os.system"'],
  ["STACK_GLOBAL", ["\x80\x04", text("posix"), text("system"), "\x93."], 'the global "posix.system"'],
  ["builtins.eval", ["\x80\x02cbuiltins\neval\n."], 'the global "builtins.eval"'],
  ["dotted names", ["\x80\x04", text("collections"), text("OrderedDict.fromkeys"), "\x93."], "OrderedDict.fromkeys"],
  ["STACK_GLOBAL of no texts", ["\x80\x04", "K\x01K\x02\x93."], 'the global "1.2"'],
  ["INST", ["\x80\x02(ios\nsystem\n."], "the opcode INST"],
  ["OBJ", ["\x80\x02(cos\nsystem\no."], 'the global "os.system"'],
  ["OBJ of an allowed global", ["\x80\x02(ccollections\nOrderedDict\no."], "the opcode OBJ"],
  ["NEWOBJ", ["\x80\x02ccollections\nOrderedDict\n)\x81."], "the opcode NEWOBJ"],
  ["BUILD on a global", ["\x80\x02ccollections\nOrderedDict\n}b."], "BUILD"],
  ["BUILD on a list", ["\x80\x02]}b."], "BUILD"],
  ["REDUCE of a text", ["\x80\x02", "X\x02\0\0\0id", ")R."], "a call of something"],
  ["REDUCE of a storage class", ["\x80\x02ctorch\nFloatStorage\n)R."], "torch.FloatStorage with arguments"],
  ["a tensor of nothing", ["\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R."], "_rebuild_tensor_v2 with arguments"],
  ["EXT1", ["\x80\x02\x82\x01."], "the opcode EXT1"],
  ["PERSID", ["\x80\x02Pabc\n."], "the opcode PERSID"],
  ["a persistent id that is no storage", ["\x80\x02K\x01Q."], "a persistent id that names no storage"],
  ["a tuple as key", ["\x80\x02})K\x01s."], "keys are no plain values"],
  ["a whole number of 4 GB", ["\x80\x02\x8b\xff\xff\xff\xff"], "a whole number of 4294967295 bytes"],
  ["a text of 4 GB", ["\x80\x02X\xff\xff\xff\xff"], "needs 4294967295 more bytes"],
  ["a text of 2^64 bytes", ["\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff"], "more bytes, and 0 are left"],
  ["an unending name", ["\x80\x02c", "a".repeat(3000)], "no line ends within 1024 bytes"],
  ["an empty stack", ["\x80\x02R."], "its stack is empty"],
  ["a missing mark", ["\x80\x02u."], "a mark is missing"],
  ["an unknown opcode", ["\x80\x02\xfe."], "254 is no opcode"],
  ["protocol 9", ["\x80\x09."], "protocol 9"],
  ["nothing remembered", ["\x80\x02h\x07."], "nothing is remembered as 7"],
  ["a far memo", ["\x80\x02]r\xff\xff\xff\xff."], "its list of storages|damaged pickle"],
])("hostile pickles: %s", (_name, body, message) => {
  expect(refusal(legacy(...body))).toMatch(new RegExp(message.replace(/[.[\]()^$]/g, "\\$&")));
});

test("deep nesting, doubling lists and endless steps end in bounded time", () => {
  const start = performance.now();
  const deep = Buffer.alloc(2_000_000, "("); // marks
  expect(refusal(legacy("\x80\x02", [...deep]))).toContain("damaged pickle");
  const lists: string[] = ["\x80\x02]q\x00"];
  for (let i = 0; i < 200; i++) lists.push("](h\x00h\x00eq\x00"); // each holds the one before twice
  expect(refusal(legacy(...lists, "."))).toContain("damaged pickle");
  const steps = Buffer.alloc(5_000_100 * 2, "]a".slice(0, 1));
  expect(refusal(Buffer.concat([legacy("\x80\x02"), steps]))).toContain("more than 5000000 steps");
  expect(performance.now() - start).toBeLessThan(10_000);
});

test("damaged archives", () => {
  const bytes = bytesOf("state.bin");
  const edited = (edit: (copy: Buffer) => void): string => {
    const copy = Buffer.from(bytes);
    edit(copy);
    return refusal(copy);
  };
  const directory = bytes.indexOf("PK\x01\x02");
  expect(refusal(bytes.subarray(0, -1))).toContain("cut short");
  expect(refusal(Buffer.concat([bytes, Buffer.alloc(1)]))).toContain("no end record");
  expect(edited((copy) => copy.writeUInt16LE(8, directory + 10))).toContain("is compressed (method 8)");
  expect(edited((copy) => copy.writeUInt16LE(1, directory + 8))).toContain("is encrypted");
  expect(edited((copy) => copy.writeUInt32LE(1, directory + 24))).toMatch(/is stored in \d+ bytes but should have 1/);
  expect(edited((copy) => copy.write("x", directory + 46))).toContain("in its own header");
  expect(edited((copy) => copy.writeUInt32LE(1e9, directory + 42))).toContain("lies outside the file");
  const big = bytes.indexOf("little");
  expect(edited((copy) => copy.write("bigbig", big))).toContain("big-endian");
  expect(refusal(Buffer.from("version https://git-lfs.github.com/spec/v1"))).toContain("git lfs pull");
  expect(refusal(Buffer.alloc(0))).toContain("neither a zip archive nor a pickle");
});

test("files cut at every byte", () => {
  for (const name of ["state.bin", "legacy.bin"]) {
    const bytes = bytesOf(name);
    for (let length = 0; length < bytes.length; length += 7)
      expect(refusal(bytes.subarray(0, length))).not.toBe("opened");
  }
});

test("2 000 mutated files: only FormatErrors, and no tensor outside its file", () => {
  const random = randomStream(11);
  const start = performance.now();
  for (let i = 0; i < 2000; i++) {
    const copy = Buffer.from(bytesOf(["state.bin", "legacy.bin", "wrapped.pt", "protocol4.pt"][i % 4]!));
    for (let edits = 1 + random.integer(8); edits > 0; edits--) {
      const [at, value] = [random.integer(copy.length), random.integer(256)];
      if (random.integer(4) === 0) copy.fill(value, at, Math.min(copy.length, at + random.integer(16)));
      else copy[at] = random.integer(2) === 0 ? value : copy[random.integer(copy.length)]!;
    }
    try {
      for (const { offset, byteLength } of parseTorchFile(copy, "file.bin").tensors.values()) {
        expect(offset + byteLength).toBeLessThanOrEqual(copy.length);
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
  expect(performance.now() - start).toBeLessThan(30_000);
});
