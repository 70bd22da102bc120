/** What users do wrong: each has its own message, an exit code, and leaves nothing behind. */

import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { golden, inScratch, lines, lowrank, readJson } from "./lowrank.ts";

const CASE = "gpt2-c_attn";
const row = { input_ids: [1, 2, 3], labels: [1, 2, 3] };

interface Wrong {
  readonly what: string;
  /** Arguments beside --model, --data and --out, made in a scratch folder that holds a copy of the model. */
  make(folder: string): { readonly args?: readonly string[]; readonly rows?: readonly unknown[] };
  readonly message: RegExp;
  readonly code: 1 | 2;
}

function editHeader(folder: string, edit: (header: Record<string, { data_offsets: [number, number] }>) => void): void {
  const path = join(folder, "model/model.safetensors");
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  edit(header);
  const text = Buffer.from(JSON.stringify(header).padEnd(length));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]));
}

function editConfig(folder: string, change: Record<string, unknown>): void {
  const path = join(folder, "model/config.json");
  writeFileSync(path, JSON.stringify({ ...readJson(path), ...change }));
}

const WRONG: readonly Wrong[] = [
  {
    what: "a truncated safetensors file",
    make: (folder) => {
      const path = join(folder, "model/model.safetensors");
      writeFileSync(path, readFileSync(path).subarray(0, -1000));
      return {};
    },
    message: /model\.safetensors/,
    code: 1,
  },
  {
    what: "a header that is longer than the file",
    make: (folder) => {
      const path = join(folder, "model/model.safetensors");
      const bytes = readFileSync(path);
      bytes.writeBigUInt64LE(2n ** 40n, 0);
      writeFileSync(path, bytes);
      return {};
    },
    message: /header should take 1099511627776 bytes, but the limit is/,
    code: 1,
  },
  {
    what: "overlapping tensors",
    make: (folder) => {
      editHeader(folder, (header) => {
        const [first, second] = Object.values(header).filter(({ data_offsets }) => data_offsets);
        second!.data_offsets = first!.data_offsets;
      });
      return {};
    },
    message: /model\.safetensors.*(overlap|data_offsets|begin)/s,
    code: 1,
  },
  {
    what: "an adapter of another base",
    make: () => ({ args: ["--init-adapter", golden("llama-gqa-tied", "adapter")] }),
    message: /target_modules|Target modules|does not fit/,
    code: 1,
  },
  {
    what: "an unknown architecture",
    make: (folder) => {
      editConfig(folder, { model_type: "mamba" });
      return {};
    },
    message: /model_type "mamba" is not known\. Known: .*gpt2.*llama/,
    code: 1,
  },
  {
    what: "weights that only pickle could read",
    make: (folder) => {
      rmSync(join(folder, "model/model.safetensors"));
      writeFileSync(join(folder, "model/pytorch_model.bin"), "x");
      return {};
    },
    message: /pytorch_model\.bin.*(convert|safe_serialization|safetensors)/is,
    code: 1,
  },
  { what: "an empty file", make: () => ({ rows: [] }), message: /data\.jsonl: the file has no rows/, code: 1 },
  {
    what: "a row without targets",
    make: () => ({ rows: [row, { input_ids: [1, 2], labels: [-100, -100] }] }),
    message: /data\.jsonl:2: the row has no target/,
    code: 1,
  },
  {
    what: "two formats in a file",
    make: () => ({ rows: [row, { text: "hello" }] }),
    message: /data\.jsonl:2: a row of .* in a file of/,
    code: 1,
  },
  {
    what: "a line that is no JSON",
    make: () => ({ rows: [row, "{"] }),
    message: /data\.jsonl:2: not valid JSON/,
    code: 1,
  },
  {
    what: "a token id beyond the vocabulary",
    make: () => ({ rows: [{ input_ids: [1, 99999], labels: [1, 99999] }] }),
    message: /data\.jsonl:1: .*99999/,
    code: 1,
  },
  {
    what: "a target module that the model lacks",
    make: () => ({ args: ["--target-modules", "q_proj"] }),
    message: /q_proj match nothing in this model\. It has .*c_attn/,
    code: 2,
  },
  { what: "text without a tokenizer", make: () => ({ rows: [{ text: "hello" }] }), message: /tokenizer/, code: 1 },
  { what: "a rank of zero", make: () => ({ args: ["--r", "0"] }), message: /\br: /, code: 2 },
  { what: "no steps", make: () => ({ args: ["--max-steps", "0"] }), message: /maxSteps: .*found 0/, code: 2 },
  {
    what: "an option that the method lacks",
    make: () => ({ args: ["--num-virtual-tokens", "4"] }),
    message: /num_virtual_tokens: LORA has no such option/,
    code: 2,
  },
  {
    what: "an adapter's option with --method full",
    make: () => ({ args: ["--method", "full", "--r", "4"] }),
    message: /r: full fine-tuning has no adapter/,
    code: 2,
  },
  {
    what: "an unknown scheduler",
    make: () => ({ args: ["--scheduler", "liner"] }),
    message: /Did you mean linear\?/,
    code: 2,
  },
];

test.each(WRONG)("$what is told and leaves nothing behind", ({ make, message, code }) =>
  inScratch(async (folder) => {
    cpSync(golden(CASE, "model"), join(folder, "model"), { recursive: true });
    const { args = [], rows = [row] } = make(folder);
    const data = lines(folder, "data.jsonl", rows);
    const out = join(folder, "out");
    const given = ["--model", join(folder, "model"), "--data", data, "--out", out, "--json", ...args];
    const result = await lowrank("train", ...given);
    expect(result.events).toEqual([{ event: "error", message: expect.stringMatching(message) }]);
    expect(result.stderr).not.toMatch(/\n\s+at /);
    expect(result.code).toBe(code);
    expect(existsSync(out)).toBe(false);
  }),
);

test("a base with NaN stops the run before its first update, and eval says NaN as a string", () =>
  inScratch(async (folder) => {
    const model = join(folder, "model");
    cpSync(golden(CASE, "model"), model, { recursive: true });
    const path = join(model, "model.safetensors");
    const bytes = readFileSync(path);
    bytes.fill(0xff, bytes.length - 400);
    writeFileSync(path, bytes);
    const given = ["--model", model, "--data", golden(CASE, "data.jsonl"), "--json"];
    const [trained, evaluated] = await Promise.all([
      lowrank("train", ...given, "--out", join(folder, "out")),
      lowrank("eval", ...given),
    ]);
    expect(trained.code).toBe(1);
    expect(trained.events.at(-1)).toMatchObject({
      event: "error",
      message: expect.stringMatching(/^Step 1: the loss is NaN/),
    });
    expect(evaluated).toMatchObject({ code: 0, events: [{ loss: "NaN", perplexity: "NaN" }] });
  }));

test("a folder that cannot be written is told before training", () =>
  inScratch(async (folder) => {
    const file = lines(folder, "file", ["x"]);
    const given = ["--model", golden(CASE, "model"), "--data", golden(CASE, "data.jsonl"), "--out", join(file, "out")];
    const { code, stderr, stdout } = await lowrank("train", ...given);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/cannot write .*file\/out/);
  }));
