import { expect, test } from "vitest";
import { FormatError } from "../../src/errors.ts";
import { parseSafetensors } from "../../src/files/safetensors.ts";
import { randomStream } from "../../src/tensor/random.ts";
import written from "./safetensors-written.json" with { type: "json" };

test("2,000 damaged files: each is read or refused with a FormatError", { timeout: 30_000 }, () => {
  const whole = Buffer.from(written["every type"], "hex");
  const random = randomStream(7);
  const alphabet = Buffer.from('{}[]",:\\u0123456789-+eE.aI \0\xff', "latin1");
  let refused = 0;
  for (let round = 0; round < 2000; round++) {
    let bytes = Buffer.from(whole);
    for (let edit = random.integer(4); edit >= 0; edit--) {
      const at = random.integer(Math.max(1, bytes.length));
      const kind = random.integer(5);
      if (kind === 0) bytes[at] = random.integer(256);
      else if (kind === 1) bytes[at] = alphabet[random.integer(alphabet.length)]!;
      else if (kind === 2) bytes = bytes.subarray(0, at);
      else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.integer(8))]);
      else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random.integer(at + 1))]);
    }
    try {
      const { tensors } = parseSafetensors(bytes, "damaged");
      for (const { offset, byteLength } of tensors.values())
        expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
    } catch (error) {
      expect(error).toBeInstanceOf(FormatError);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(1000);
});

test.each([
  ["open brackets", `{"a":${"[".repeat(3_000_000)}`],
  ["open braces", '{"a":'.repeat(1_000_000)],
  ["digits", `{"a":{"shape":[${"1".repeat(5_000_000)}]}}`],
  ["a string", `{"${"x".repeat(5_000_000)}`],
  ["escapes", `{"${"\\u0041".repeat(1_000_000)}`],
  ["numbers", `{"a":{"z":[${"0,".repeat(2_000_000)}`],
  ["keys", `{"a":{${Array.from({ length: 300_000 }, (_, i) => `"${i}":0`).join(",")}`],
])("a header of nothing but %s is refused at once", { timeout: 10_000 }, (_what, header) => {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  let message = "";
  try {
    parseSafetensors(Buffer.concat([length, json]), "hostile");
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    message = (error as FormatError).message;
  }
  expect(message).toMatch(/^hostile: /);
  expect(message.length).toBeLessThan(1000);
});
