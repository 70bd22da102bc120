/**
 * Damages safetensors and GGUF files at random and reads them: each is read, or refused with a FormatError, at once and
 * in no more memory than four times its size, beside a megabyte of the reader's own.
 *
 *   node scripts/fuzz.mjs [files of each kind = 10000] [seed = 1]
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FormatError } from "../dist/errors.js";
import { parseGguf } from "../dist/files/gguf.js";
import { writeGguf } from "../dist/files/gguf-writer.js";
import { parseSafetensors, writeSafetensors } from "../dist/files/safetensors.js";
import { randomStream } from "../dist/tensor/random.js";

const COUNT = Number(process.argv[2] ?? 10000);
const SEED = Number(process.argv[3] ?? 1);
const SLOWEST_MS = 1000;
const OWN_BYTES = 2 ** 20;
const SIGNS = Buffer.from('{}[]",:\\u0123456789-+eE.aI \0\xff', "latin1");

const random = randomStream(SEED);
const folder = mkdtempSync(join(tmpdir(), "fuzz-"));

/** A whole file of each kind: a few dozen small tensors, so that most of it is header. */
function whole(kind) {
  const tensors = Array.from({ length: 40 }, (_, i) => [
    `model.layers.${i}.weight`,
    { dtype: "f32", shape: [1 + (i % 4), 3], data: new Float32Array(3 * (1 + (i % 4))) },
  ]);
  const path = join(folder, kind);
  if (kind === "safetensors") writeSafetensors(path, tensors, { format: "pt" });
  else
    writeGguf(
      path,
      new Map([
        ["general.type", "adapter"],
        ["adapter.lora.alpha", { f32: 8 }],
      ]),
      new Map(tensors),
    );
  return readFileSync(path);
}

function damaged(file) {
  let bytes = Buffer.from(file);
  for (let edits = 1 + random.integer(5); edits > 0; edits--) {
    const at = random.integer(Math.max(1, bytes.length));
    const [before, behind] = [bytes.subarray(0, at), bytes.subarray(at)];
    switch (random.integer(7)) {
      case 0:
        bytes[at] = random.integer(256);
        break;
      case 1:
        bytes[at] = SIGNS[random.integer(SIGNS.length)];
        break;
      case 2:
        bytes = Buffer.from(before);
        break;
      case 3:
        bytes = Buffer.concat([before, behind.subarray(1 + random.integer(8))]);
        break;
      case 4:
        bytes = Buffer.concat([before, bytes.subarray(random.integer(at + 1))]);
        break;
      case 5: // a count, a length or an offset
        if (bytes.length > at + 8)
          bytes.writeBigUInt64LE(BigInt.asUintN(64, 2n ** BigInt(random.integer(64)) - 1n), at);
        break;
      default:
        if (bytes.length > 16)
          bytes.writeBigUInt64LE(BigInt(random.integer(2 ** 31)), [0, 8, 16][random.integer(3)] % (bytes.length - 8));
    }
  }
  return bytes;
}

let failed = 0;
for (const [kind, parse] of [
  ["safetensors", parseSafetensors],
  ["gguf", parseGguf],
]) {
  const file = whole(kind);
  const tally = { read: 0, refused: 0, slowestMs: 0, mostBytesBesideFour: 0 };
  for (let i = 0; i < COUNT; i++) {
    const bytes = damaged(file);
    const used = () => process.memoryUsage().heapUsed + process.memoryUsage().external;
    const before = used();
    const begun = performance.now();
    try {
      for (const { offset, byteLength } of parse(bytes, "damaged").tensors.values()) {
        if (!(offset >= 0 && offset + byteLength <= bytes.length)) throw new Error("a tensor lies outside of its file");
      }
      tally.read++;
    } catch (error) {
      if (error instanceof FormatError) tally.refused++;
      else {
        failed++;
        console.error(`${kind} ${i}: ${error.stack}\n${bytes.toString("base64")}`);
      }
    }
    tally.slowestMs = Math.max(tally.slowestMs, performance.now() - begun);
    tally.mostBytesBesideFour = Math.max(tally.mostBytesBesideFour, used() - before - 4 * bytes.length);
  }
  if (tally.slowestMs > SLOWEST_MS || tally.mostBytesBesideFour > OWN_BYTES) failed++;
  console.log(JSON.stringify({ kind, files: COUNT, fileBytes: file.length, ...tally }));
}
rmSync(folder, { recursive: true });
process.exitCode = failed === 0 ? 0 : 1;
