import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LowrankError } from "../../src/errors.ts";
import { writeFileAtomic, writeJsonAtomic } from "../../src/files/atomic.ts";
import { ioError } from "../../src/files/io-error.ts";

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-atomic-"));
  path = join(folder, "file");
});
afterEach(() => rmSync(folder, { recursive: true }));

test("chunks are written in order, over what was there", () => {
  writeFileSync(path, "old and much longer");
  writeFileAtomic(path, [Uint8Array.of(1, 2), new Uint8Array(), Uint8Array.of(3)]);
  expect([...readFileSync(path)]).toEqual([1, 2, 3]);
  writeFileAtomic(path, Uint8Array.of(4));
  expect([...readFileSync(path)]).toEqual([4]);
  expect(readdirSync(folder)).toEqual(["file"]);
});

test("until the last chunk is there, the old file is", () => {
  writeFileSync(path, "old");
  writeFileAtomic(
    path,
    (function* () {
      yield Buffer.from("new ");
      expect(readFileSync(path, "utf8")).toBe("old");
      yield Buffer.from("file");
    })(),
  );
  expect(readFileSync(path, "utf8")).toBe("new file");
});

test("a failure in the middle leaves the old file and no temporary one", () => {
  writeFileSync(path, "old");
  const failure = new Error("the producer broke");
  const chunks = function* (): Generator<Uint8Array> {
    yield new Uint8Array(100_000);
    throw failure;
  };
  expect(() => writeFileAtomic(path, chunks())).toThrow(failure);
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder)).toEqual(["file"]);
});

test("a refusal of the disk names the path and the next step, and leaves nothing behind", () => {
  mkdirSync(path);
  expect(() => writeFileAtomic(path, Uint8Array.of(1))).toThrow(LowrankError);
  expect(() => writeFileAtomic(path, Uint8Array.of(1))).toThrow(`cannot write ${path} (EISDIR)`);
  expect(readdirSync(folder)).toEqual(["file"]);
  const inside = join(folder, "absent", "file");
  expect(() => writeFileAtomic(inside, Uint8Array.of(1))).toThrow(
    `cannot write ${inside} (ENOENT): no such file or folder`,
  );
  const full = ioError("write", path, Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" }));
  expect(full.message).toBe(
    `cannot write ${path} (ENOSPC): no space left on the device. Free some space or choose another place.`,
  );
});

test("a symbolic link is replaced and its target left alone", () => {
  const target = join(folder, "target");
  writeFileSync(target, "shared");
  symlinkSync("target", path);
  writeFileAtomic(path, Buffer.from("own"));
  expect(readFileSync(path, "utf8")).toBe("own");
  expect(readFileSync(target, "utf8")).toBe("shared");
});

test("JSON has two spaces of indentation, a final newline, and words for the numbers it lacks", () => {
  writeJsonAtomic(path, { r: 8, loss: Number.NaN, best: [-Infinity, Infinity, 1.5] });
  expect(readFileSync(path, "utf8")).toBe(
    '{\n  "r": 8,\n  "loss": "NaN",\n  "best": [\n    "-Infinity",\n    "Infinity",\n    1.5\n  ]\n}\n',
  );
  expect(() => writeJsonAtomic(path, undefined)).toThrow("internal: a value of type undefined has no JSON form");
});
