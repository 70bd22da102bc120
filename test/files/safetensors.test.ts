import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FormatError, LowrankError } from "../../src/errors.ts";
import {
  openSafetensors,
  parseSafetensors,
  readTensor,
  readTensors,
  type WritableTensor,
  writeSafetensors,
} from "../../src/files/safetensors.ts";
import { byteLength, type DType, typedView } from "../../src/tensor/dtype.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import written from "./safetensors-written.json" with { type: "json" };

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-safetensors-"));
  path = join(folder, "x.safetensors");
});
afterEach(() => rmSync(folder, { recursive: true }));

test.each(Object.entries(written))("%s: read and written again, the reference's bytes come back", (_name, hex) => {
  const bytes = Buffer.from(hex, "hex");
  writeFileSync(path, bytes);
  const file = openSafetensors(path);
  const metadata = file.metadata.size > 0 ? Object.fromEntries(file.metadata) : undefined;
  const copy = join(folder, "copy.safetensors");
  // Backwards, because the writer's order must not depend on ours.
  writeSafetensors(copy, [...readTensors(file)].reverse(), metadata);
  expect(readFileSync(copy).toString("hex")).toBe(hex);
});

test("what Python wrote is read with its values", () => {
  writeFileSync(path, Buffer.from(written["every type"], "hex"));
  const tensors = readTensors(openSafetensors(path));
  // torch: (arange(6).reshape(2, 3) - 1).to(dtype)
  expect(tensors.get("90.float32")).toEqual({ dtype: "f32", shape: [2, 3], data: Float32Array.of(-1, 0, 1, 2, 3, 4) });
  expect(tensors.get("88.int64")!.data).toEqual(BigInt64Array.of(-1n, 0n, 1n, 2n, 3n, 4n));
  expect(tensors.get("87.uint64")!.data[0]).toBe(2n ** 64n - 1n);
  expect(tensors.get("93.bfloat16")!.data).toEqual(Uint16Array.of(0xbf80, 0, 0x3f80, 0x4000, 0x4040, 0x4080));
  expect(tensors.get("94.float16")!.data).toEqual(Uint16Array.of(0xbc00, 0, 0x3c00, 0x4000, 0x4200, 0x4400));
  expect(tensors.get("99.bool")).toEqual({ dtype: "bool", shape: [2, 3], data: Uint8Array.of(1, 0, 1, 1, 1, 1) });
});

const DTYPES = "f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 bool".split(" ") as DType[];

test("every type comes back bit for bit, whatever the bits are", () => {
  const tensors = DTYPES.map((dtype, i): [string, Tensor] => {
    const bytes = Uint8Array.from({ length: byteLength(dtype, 6) }, (_, k) =>
      dtype === "bool" ? k % 2 : 255 - ((k * 37 + i) % 256),
    );
    return [`t${i}`, { dtype, shape: [3, 2], data: typedView(dtype, bytes) }];
  });
  writeSafetensors(path, tensors, { format: "pt", b: "é\n" });
  const file = openSafetensors(path);
  expect(readTensors(file)).toEqual(new Map(tensors));
  expect(file.metadata).toEqual(
    new Map([
      ["b", "é\n"],
      ["format", "pt"],
    ]),
  );
  for (const [name, { shape, dtype }] of tensors)
    expect(file.tensors.get(name)).toMatchObject({ name, shape, dtype, path: file.path });
});

test("tensors are made one at a time, in the order of the file", () => {
  const made: string[] = [];
  const lazy = (name: string, dtype: DType): [string, WritableTensor] => {
    const data = (): Uint8Array => {
      made.push(name);
      return new Uint8Array();
    };
    return [name, { dtype, shape: [0], data }];
  };
  writeSafetensors(path, [lazy("b", "u8"), lazy("a", "u8"), lazy("c", "f32")]);
  expect(made).toEqual(["c", "a", "b"]);
});

test("a failure while tensors are made leaves the old file and nothing else", () => {
  writeSafetensors(path, [["a", floatTensor([2])]]);
  const before = readFileSync(path);
  const tensors = [
    ["a", floatTensor([2])],
    [
      "b",
      {
        dtype: "f32",
        shape: [2],
        data: () => {
          throw new Error("out of memory");
        },
      },
    ],
  ] as const;
  expect(() => writeSafetensors(path, tensors)).toThrow("out of memory");
  expect(() => writeSafetensors(path, [["a", { dtype: "f32", shape: [3], data: new Float32Array(2) }]])).toThrow(
    /"a": f32 \[3\] takes 12 bytes, its data has 8/,
  );
  expect(readFileSync(path)).toEqual(before);
  expect(readdirSync(folder)).toEqual(["x.safetensors"]);
});

test.each([
  ["a reserved name", [["__metadata__", floatTensor([1])]], "reserved or used twice"],
  [
    "a repeated name",
    [
      ["a", floatTensor([1])],
      ["a", floatTensor([1])],
    ],
    "reserved or used twice",
  ],
  ["half a surrogate pair", [["\ud800", floatTensor([1])]], "no valid Unicode"],
  ["a 4-bit type", [["a", { dtype: "i4", shape: [2], data: new Uint8Array(1) }]], "no type for i4"],
  ["a negative extent", [["a", { dtype: "f32", shape: [-1, -1], data: new Float32Array(1) }]], "[-1, -1] is no shape"],
] as [string, [string, Tensor][], string][])("the writer refuses %s", (_what, tensors, message) => {
  expect(() => writeSafetensors(path, tensors)).toThrow(message);
  expect(readdirSync(folder)).toEqual([]);
});

test("entries hold the real path and offsets from the start of the file", () => {
  mkdirSync(join(folder, "blobs"));
  const blob = join(folder, "blobs", "0123");
  writeSafetensors(blob, [
    ["a", floatTensor([2], Float32Array.of(5, 6))],
    ["b", floatTensor([], Float32Array.of(7))],
  ]);
  symlinkSync("blobs/0123", path);
  const entry = openSafetensors(path).tensors.get("b")!;
  expect(entry.path).toBe(openSafetensors(blob).path);
  expect(readFileSync(blob).readFloatLE(entry.offset)).toBe(7);
  expect(readTensor(entry)).toEqual({ dtype: "f32", shape: [], data: Float32Array.of(7) });
  expect(parseSafetensors(readFileSync(blob), blob).tensors.get("b")).toEqual({ ...entry, path: blob });
});

test("a file that is cut short is refused by the first tensor that it lacks", () => {
  writeSafetensors(path, [
    ["a", floatTensor([2])],
    ["b", floatTensor([2])],
  ]);
  const whole = openSafetensors(path);
  truncateSync(path, readFileSync(path).length - 4);
  expect(() => openSafetensors(path)).toThrow('tensor "b": it needs data bytes up to 16, but the file holds 12');
  expect(() => readTensor(whole.tensors.get("b")!)).toThrow("changed while being read");
});

test.each([
  ["version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"],
  ["<!DOCTYPE html><html></html>", "web page"],
  ["PK\x03\x04\x00\x00\x08\x08\x00\x00", "pickled"],
  ["GGUF\x03\x00\x00\x00\xff\xff\xff\xff", "GGUF"],
])("another kind of file, %j, is named with the way out", (text, hint) => {
  writeFileSync(path, text, "latin1");
  expect(() => openSafetensors(path)).toThrow(FormatError);
  expect(() => openSafetensors(path)).toThrow(hint);
});

test("a path that is no readable file is an error that names it", () => {
  expect(() => openSafetensors(path)).toThrow(LowrankError);
  expect(() => openSafetensors(path)).toThrow(`cannot read ${path} (ENOENT): no such file`);
  expect(() => openSafetensors(folder)).toThrow("found a folder or device, needed a file");
});
