import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, expect, test } from "vitest";
import { dataFile, partOf } from "../../src/data/folder.ts";
import { formatOf, taskOf } from "../../src/data/formats.ts";
import { readRows } from "../../src/data/read-rows.ts";

const temporary = mkdtempSync(join(tmpdir(), "lowrank-rows-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

function file(content: string | Uint8Array, name = "data.jsonl"): string {
  const path = join(temporary, name);
  writeFileSync(path, content);
  return path;
}

const rows = (path: string): [number, unknown][] => [...readRows(path)].map(({ line, value }) => [line, value]);

test("reads lines, skipping blank ones, a byte order mark and carriage returns; lines keep their number", () => {
  expect(rows(file('\uFEFF{"a":1}\r\n\r\n  \n{"a":2}\n{"a":"é\u2028x"}'))).toEqual([
    [1, { a: 1 }],
    [4, { a: 2 }],
    [5, { a: "é\u2028x" }],
  ]);
});

test("reads a JSON array, with rows for lines, and gzip of either", () => {
  expect(rows(file('\uFEFF \n[{"a":1},\n\n{"a":2}]', "data.json"))).toEqual([
    [1, { a: 1 }],
    [2, { a: 2 }],
  ]);
  expect(rows(file(gzipSync('{"a":1}\n{"a":2}\n'), "data.jsonl.gz"))).toEqual([
    [1, { a: 1 }],
    [2, { a: 2 }],
  ]);
  expect(rows(file(gzipSync('[{"a":1}]'), "data.json.gz"))).toEqual([[1, { a: 1 }]]);
});

test("lines longer than a reading chunk, and chunks that end at any byte, come whole", () => {
  const texts = [1048567, 1048566, 10, 3000000, 1048565, 5].map((length, i) => String(i).repeat(length));
  const path = file(texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  expect([...readRows(path)].map(({ value }) => value["text"] === texts.shift())).toEqual([
    true,
    true,
    true,
    true,
    true,
    true,
  ]);
});

test.each([
  ["", /data\.jsonl: the file has no rows/],
  ["\n \n", /the file has no rows/],
  ["[]", /the file has no rows/],
  ['{"a":1}\n{"a":}\n', /data\.jsonl:2: not valid JSON \(.+\): \{"a":\}\nEach line must be one whole JSON object/],
  ['{"a":1}\nhello\n', /data\.jsonl:2: not valid JSON \(Unexpected token 'h'\): hello/],
  [`{"a":1}\n{"a":"${"x".repeat(100)}\n`, /:2: not valid JSON .*: \{"a":"x{54}…/],
  ['{\n  "a": 1\n}\n', /:1: not valid JSON/],
  ['{"a":1}\n3\n', /:2: the row is the number 3, a JSON object is needed/],
  ['{"a":1}\n[1]\n', /:2: the row is a list/],
  ["[1]", /:1: the row is the number 1/],
  ['[{"a":1}', /begins with "\[" but is no JSON array/],
])("refuses %j", (content, message) => {
  expect(() => rows(file(content))).toThrow(message);
});

test("refuses what is not UTF-8, not gzip, not a file", () => {
  expect(() =>
    rows(file(Buffer.concat([Buffer.from('{"a":1}\n{"a":"'), Buffer.from([0xe9]), Buffer.from('"}\n')]))),
  ).toThrow(/:2: not UTF-8 text/);
  expect(() => rows(file(gzipSync('{"a":1}').subarray(0, 12), "cut.gz"))).toThrow(
    /cut\.gz: the gzip file cannot be unpacked/,
  );
  expect(() => rows(join(temporary, "absent.jsonl"))).toThrow(/absent\.jsonl: cannot be opened .*Check the path/);
  expect(() => rows(temporary)).toThrow(/cannot be read/);
});

test.each([
  [{ input_ids: [1], labels: [1], attention_mask: [1] }, "tokens", "causal-lm"],
  [{ input_ids: [1], label: 1 }, "labelled-tokens", "sequence-classification"],
  [{ input_ids: [1], label: 0.5 }, "labelled-tokens", "regression"],
  [{ input_ids: [1], label: [0.5, 1] }, "labelled-tokens", "regression"],
  [{ prompt: "a", completion: "b", id: 3 }, "prompt-completion", "causal-lm"],
  [{ text: "a" }, "text", "causal-lm"],
  [{ text: "a", label: "x" }, "labelled-text", "sequence-classification"],
  [{ sentence: "a", label: 0 }, "labelled-text", "sequence-classification"],
  [{ sentence1: "a", sentence2: "b", label: 3.8 }, "labelled-pair", "regression"],
  [{ tokens: ["a"], ner_tags: [0] }, "words", "token-classification"],
  [{ tokens: ["a"], labels: ["O"] }, "words", "token-classification"],
])("%j is recognised", (row, format, task) => {
  const found = formatOf(row, "f:1");
  expect(found).toBe(format);
  expect(taskOf(found, row, undefined, undefined, "f:1")).toBe(task);
});

test("a whole-number label is regression when the model has one output", () => {
  expect(taskOf("labelled-text", { text: "a", label: 1 }, undefined, 1, "f:1")).toBe("regression");
  expect(taskOf("labelled-text", { text: "a", label: 1 }, undefined, 2, "f:1")).toBe("sequence-classification");
});

test.each([
  [{ messages: [] }, "messages"],
  [{ prompt: [{ role: "user", content: "a" }], completion: [] }, "conversational-completion"],
  [{ conversations: [] }, "sharegpt"],
  [{ instruction: "a", output: "b" }, "alpaca"],
  [{ segments: [] }, "segments"],
  [{ prompt: "a", chosen: "b", rejected: "c" }, "preference"],
  [{ chosen: [], rejected: [] }, "conversational-preference"],
  [{ input: { messages: [] }, preferred_output: [], non_preferred_output: [] }, "openai-preference"],
  [{ prompt: "a", completion: "b", label: true }, "judged"],
  [{ prompt: [], completion: [], label: false }, "conversational-judged"],
])("%j is %s", (row, format) => {
  expect(formatOf(row, "f:7")).toBe(format);
});

test("unknown rows are refused with their keys", () => {
  expect(() => formatOf({ question: "a", answer: "b" }, "f:1")).toThrow(
    'f:1: no known format has the keys {"question", "answer"}',
  );
  expect(() => formatOf({ input_ids: [1], labels: null }, "f:1")).toThrow(/no known format/);
});

test("a format that cannot train the task asked for is refused", () => {
  expect(() => taskOf("labelled-text", { text: "a", label: 0 }, "causal-lm", undefined, "f:1")).toThrow(
    'f:1: rows of {"text" or "sentence", "label"} cannot train the task causal-lm, which needs {"input_ids", "labels"} or ' +
      '{"prompt", "completion"} or {"text"} or {"messages"} or {"prompt", "completion"} of messages or {"conversations"} or ' +
      '{"instruction", "output"} or {"segments"} or {"prompt", "chosen", "rejected"} or {"prompt", "chosen", "rejected"} of messages or ' +
      '{"input", "preferred_output", "non_preferred_output"} or {"prompt", "completion", "label"} or ' +
      '{"prompt", "completion", "label"} of messages. These rows fit --task sequence-classification or multi-label-classification or regression.',
  );
});

// Written by hyparquet-writer 0.18, three rows in groups of two.
test.each(["snappy", "gzip"])("reads Parquet (%s) with nested lists", (codec) => {
  expect(rows(join(import.meta.dirname, `fixtures/${codec}.parquet`))).toEqual([
    [
      1,
      {
        messages: [
          { role: "user", content: "hi" },
          { role: "assistant", content: "café" },
        ],
        label: 1,
      },
    ],
    [2, { messages: [{ role: "user", content: "x" }], label: null }],
    [3, { messages: [], label: 3 }],
  ]);
  expect(() => rows(file("PAR1xxxxxxxxPAR1", "broken.parquet"))).toThrow(
    /broken\.parquet: the Parquet file cannot be read/,
  );
});

test("reads CSV and TSV by their header: quotes, line breaks, labels as numbers, lists as JSON", () => {
  expect(rows(file('\uFEFFtext,label\r\n"a, ""b""\nc",1\r\n\r\n d ,name\r\n', "a.csv"))).toEqual([
    [3, { text: 'a, "b"\nc', label: 1 }],
    [5, { text: " d ", label: "name" }],
  ]);
  expect(rows(file('prompt\tcompletion\n[1] x\t[{"role":"assistant"}]\n', "a.tsv"))).toEqual([
    [2, { prompt: "[1] x", completion: [{ role: "assistant" }] }],
  ]);
  expect(rows(file(gzipSync("text\nhello\n"), "a.csv.gz"))).toEqual([[2, { text: "hello" }]]);
  expect(() => rows(file("a,b\n1,2\n3\n", "b.csv"))).toThrow(/b\.csv:3: not a row of the table/);
  expect(() => rows(file('a\n"x\n', "b.csv"))).toThrow(/b\.csv:\d: not a row of the table/);
  expect(() => rows(file("a,a\n1,2\n", "b.csv"))).toThrow('b.csv:1: the header names "a" twice');
});

test("a folder gives its train, valid and test files", () => {
  const folder = mkdtempSync(join(temporary, "parts-"));
  for (const name of ["train.csv", "validation.jsonl.gz", "notes.txt"]) writeFileSync(join(folder, name), "x");
  expect(dataFile(folder, "train")).toBe(join(folder, "train.csv"));
  expect(dataFile(folder, "test", "valid")).toBe(join(folder, "validation.jsonl.gz"));
  expect([partOf(folder, "test"), partOf(join(folder, "train.csv"), "valid")]).toEqual([null, null]);
  expect(() => dataFile(folder, "test")).toThrow(/the folder has no test\.jsonl \(found: .*train\.csv/);
  writeFileSync(join(folder, "dev.jsonl"), "x");
  expect(() => partOf(folder, "valid")).toThrow(/dev\.jsonl and validation\.jsonl\.gz are both its valid rows/);
});
