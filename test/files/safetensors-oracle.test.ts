/** Our verdict on crafted files against that of the reference, Python's safetensors 0.8.0 (make-fixtures.py). */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FormatError } from "../../src/errors.ts";
import { openSafetensors, parseSafetensors, readTensors } from "../../src/files/safetensors.ts";
import cases from "./safetensors-oracle.json" with { type: "json" };

const folder = mkdtempSync(join(tmpdir(), "lowrank-oracle-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Where we are stricter: the reference keeps the last of two equal keys. */
const REFUSED = new Set([
  "dup tensor key",
  "dup tensor key, first invalid",
  "dup tensor key via escape",
  "dup key inside __metadata__",
]);

test("the fixture holds every case of the oracle and ours", () => {
  expect(cases.length).toBe(238);
  expect(cases.filter(({ name, accept }) => accept && REFUSED.has(name)).length).toBe(REFUSED.size);
});

test.each(cases)("$name", ({ name, accept, hex }) => {
  const bytes = Buffer.from(hex, "hex");
  const path = join(folder, "case.safetensors");
  writeFileSync(path, bytes);
  if (accept && !REFUSED.has(name)) {
    expect(openSafetensors(path).tensors.size).toBe(parseSafetensors(bytes, "memory").tensors.size);
  } else {
    expect(() => parseSafetensors(bytes, "memory")).toThrow(FormatError);
    expect(() => openSafetensors(path)).toThrow(FormatError);
    expect(() => openSafetensors(path)).toThrow(path);
  }
});

test("a repeated key is refused by its decoded name", () => {
  const { hex } = cases.find(({ name }) => name === "dup tensor key via escape")!;
  expect(() => parseSafetensors(Buffer.from(hex, "hex"), "x")).toThrow('key "a" appears again');
});

test("an empty tensor with an extent beyond 2^53 is listed but not read", () => {
  const path = join(folder, "wide.safetensors");
  writeFileSync(path, Buffer.from(cases.find(({ name }) => name === "shape [0,2^53+1]")!.hex, "hex"));
  const file = openSafetensors(path);
  expect(file.tensors.get("a")!.byteLength).toBe(0);
  expect(() => readTensors(file)).toThrow("beyond 2^53");
});

test("a type that we cannot compute with is listed, and refused only when read", () => {
  const path = join(folder, "f8.safetensors");
  writeFileSync(path, Buffer.from(cases.find(({ name }) => name === "F8_E4M3 x 8")!.hex, "hex"));
  const file = openSafetensors(path);
  expect(file.tensors.get("a")).toMatchObject({ dtype: null, storedType: "F8_E4M3", shape: [8], byteLength: 8 });
  expect(() => readTensors(file)).toThrow(/"a" is stored as F8_E4M3.*Convert it/);
});
