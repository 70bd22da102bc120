import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Dataset, type DatasetOptions, loadDataset } from "../../src/data/dataset.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { DataError } from "../../src/errors.ts";

const temporary = mkdtempSync(join(tmpdir(), "lowrank-dataset-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));
const fixtures = new URL("./fixtures/", import.meta.url).pathname;
const llama = loadTokenizer(join(fixtures, "llama"))!;
const bert = loadTokenizer(join(fixtures, "bert"))!;

const usual: DatasetOptions = {
  task: undefined,
  tokenizer: null,
  endId: null,
  maxLength: 1024,
  maskPrompt: true,
  vocabularySize: 100,
  maxPositions: null,
};

function load(rows: readonly unknown[], options: Partial<DatasetOptions> = {}): Dataset {
  const path = join(temporary, "data.jsonl");
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return loadDataset(path, { ...usual, ...options });
}

const withLlama = { tokenizer: llama, endId: llama.endId, vocabularySize: llama.vocabularySize };
const withBert = { tokenizer: bert, vocabularySize: bert.vocabularySize };
const list = (values: Int32Array | undefined): number[] => [...(values ?? [])];

describe("tokens with labels", () => {
  test("are taken as they are, and cut on the right", () => {
    const rows = [
      { input_ids: [5, 6, 7], labels: [-100, 6, 7] },
      { input_ids: [1, 2, 3, 4, 5], labels: [1, 2, 3, 4, 5] },
    ];
    const { examples, statistics, format, task, classes } = load(rows, { maxLength: 4 });
    expect(examples.map(({ ids, labels, line }) => [line, list(ids), list(labels)])).toEqual([
      [1, [5, 6, 7], [-100, 6, 7]],
      [2, [1, 2, 3, 4], [1, 2, 3, 4]],
    ]);
    // The causal model predicts nothing at position 0.
    expect(statistics).toEqual({ rows: 2, tokens: 7, targetTokens: 5, truncatedRows: 1, droppedRows: 0 });
    expect([format, task, classes]).toEqual(["tokens", "causal-lm", undefined]);
  });

  test("token classification counts position 0 and checks classes, not token ids", () => {
    const row = { input_ids: [5, 6], labels: [1, -100] };
    expect(load([row], { task: "token-classification", labelCount: 2 }).statistics.targetTokens).toBe(1);
    expect(() => load([row], { task: "token-classification", labelCount: 1 })).toThrow(
      /:1: the class index 1 is out of range, 0 to 0 \(the model has 1 outputs\) is needed/,
    );
  });
});

test("prompt and completion: prompt with special tokens, completion without, the end token, prompt masked", () => {
  const rows = [{ prompt: "hello world", completion: " the dog" }];
  const prompt = list(llama.encode("hello world", { special: true }));
  const completion = [...list(llama.encode(" the dog", { special: false })), 2];
  const [masked] = load(rows, withLlama).examples;
  expect(list(masked?.ids)).toEqual([...prompt, ...completion]);
  expect(list(masked?.labels)).toEqual([...prompt.map(() => -100), ...completion]);
  const [whole] = load(rows, { ...withLlama, maskPrompt: false }).examples;
  expect(list(whole?.labels)).toEqual([...prompt, ...completion]);
  const [cut] = load(rows, { ...withLlama, maxLength: prompt.length + 1 }).examples;
  expect(list(cut?.labels)).toEqual([...prompt.map(() => -100), completion[0]]);
});

test("text: with special tokens and the end token, all targets", () => {
  const { examples, statistics } = load([{ text: "hello" }], withLlama);
  const ids = [...list(llama.encode("hello", { special: true })), 2];
  expect(ids[0]).toBe(1);
  expect([list(examples[0]?.ids), list(examples[0]?.labels)]).toEqual([ids, ids]);
  expect(statistics.targetTokens).toBe(ids.length - 1);
});

test("text for a masked model: special tokens only, targets are drawn later", () => {
  const { examples, statistics } = load([{ text: "hello" }], { ...withBert, task: "masked-lm", endId: 3 });
  expect(list(examples[0]?.ids)).toEqual(list(bert.encode("hello", { special: true })));
  expect(examples[0]).not.toHaveProperty("labels");
  expect(statistics.targetTokens).toBe(0);
});

describe("labelled rows", () => {
  test("class indices and real values", () => {
    const classes = load([{ input_ids: [1], label: 2 }], { labelCount: 3 });
    expect([classes.task, classes.examples[0]?.label, classes.statistics.targetTokens]).toEqual([
      "sequence-classification",
      2,
      1,
    ]);
    const values = load(
      [
        { input_ids: [1, 2], label: -0.6 },
        { input_ids: [1], label: 1 },
      ],
      { labelCount: 1 },
    );
    expect([values.task, ...values.examples.map(({ label }) => label)]).toEqual(["regression", -0.6, 1]);
    const several = load([{ input_ids: [1], label: [1, 0, 1] }], { labelCount: 3 });
    expect([several.task, several.examples[0]?.label]).toEqual(["multi-label-classification", [1, 0, 1]]);
  });

  test("text, sentence and pairs take special tokens and segments, and keep them when cut", () => {
    const [text] = load([{ text: "hello world", label: 0 }], withBert).examples;
    expect(list(text?.ids)).toEqual(list(bert.encode("hello world", { special: true })));
    expect(text).not.toHaveProperty("typeIds");
    const pair = { sentence1: "the lazy dog", sentence2: "the fox", label: 1 };
    const [two] = load([pair], withBert).examples;
    const both = bert.encodePair("the lazy dog", "the fox");
    expect([list(two?.ids), list(two?.typeIds)]).toEqual([list(both.ids), list(both.typeIds)]);
    const cut = load([pair], { ...withBert, maxLength: 6 });
    expect(cut.examples[0]?.ids.length).toBe(6);
    expect(cut.examples[0]?.ids.at(-1)).toBe(bert.idOf("[SEP]"));
    expect(cut.statistics.truncatedRows).toBe(1);
  });

  test("names: the model's, or the sorted names of the file", () => {
    const rows = [
      { sentence: "a", label: "pos" },
      { sentence: "b", label: "neg" },
    ];
    const own = load(rows, withBert);
    expect([own.classes, ...own.examples.map(({ label }) => label)]).toEqual([["neg", "pos"], 1, 0]);
    const given = load(rows, {
      ...withBert,
      labelNames: new Map([
        ["pos", 0],
        ["neg", 1],
      ]),
    });
    expect([given.classes, ...given.examples.map(({ label }) => label)]).toEqual([["pos", "neg"], 0, 1]);
    const placeholders = new Map([
      ["LABEL_0", 0],
      ["LABEL_1", 1],
    ]);
    expect(load(rows, { ...withBert, labelNames: placeholders, labelCount: 2 }).classes).toEqual(["neg", "pos"]);
    const named = [{ sentence: "a", label: "LABEL_1" }];
    expect(load(named, { ...withBert, labelNames: placeholders, labelCount: 2 }).examples[0]?.label).toBe(1);
  });

  const refused: [string, unknown[], Partial<DatasetOptions>, RegExp][] = [
    [
      "an unknown name",
      [{ text: "a", label: "c" }],
      {
        labelNames: new Map([
          ["a", 0],
          ["b", 1],
        ]),
      },
      /:1: the label "c" is no class of the model. Known are a, b\./,
    ],
    [
      "too many names",
      ["x", "y", "z"].map((label) => ({ text: "a", label })),
      { labelCount: 2 },
      /the rows name 3 classes \(x, y, z\), the model has 2 outputs/,
    ],
    [
      "names and numbers",
      [
        { text: "a", label: "x" },
        { text: "b", label: 0 },
      ],
      {},
      /:2: the label 0 is a number, other rows have names \(x\)/,
    ],
    [
      "a class beyond the outputs",
      [
        { text: "a", label: 0 },
        { text: "a", label: 2 },
      ],
      { labelCount: 2 },
      /:2: the class index 2 is out of range, 0 to 1/,
    ],
    ["a negative class", [{ text: "a", label: -1 }], {}, /:1: the class index -1 is out of range, 0 or more/],
    [
      "a fraction among classes",
      [
        { text: "a", label: 0 },
        { text: "a", label: 0.5 },
      ],
      {},
      /:2: the label 0.5 is not a whole number.*--task regression/,
    ],
    ["null", [{ text: "a", label: null }], {}, /:1: a label is null, a class index or a class name is needed/],
    [
      "a word for regression",
      [{ text: "a", label: "x" }],
      { task: "regression" },
      /:1: the label is a string, a number is needed for regression/,
    ],
    [
      "one value for two outputs",
      [{ text: "a", label: 0.5 }],
      { labelCount: 2 },
      /the label is one number, the model has 2 outputs/,
    ],
    [
      "a vector of another size",
      [{ text: "a", label: [1, 0] }],
      { labelCount: 3, task: "regression" },
      /label has 2 entries, one for each of the model's 3/,
    ],
    [
      "several labels for one",
      [{ text: "a", label: [1, 0] }],
      { labelCount: 2, task: "sequence-classification" },
      /a label is a list.*--task multi-label-classification/,
    ],
    [
      "labels of another number",
      [{ text: "a", label: [1, 0] }],
      { labelCount: 3, task: "multi-label-classification" },
      /label has 2 entries, one for each of 3 classes is needed/,
    ],
    [
      "one label for several",
      [{ text: "a", label: 1 }],
      { task: "multi-label-classification" },
      /the label is the number 1, a list is needed/,
    ],
    [
      "a vector of words",
      [{ text: "a", label: [1, "b"] }],
      { task: "multi-label-classification" },
      /label\[1\] is "b", 0 or 1 is needed/,
    ],
  ];
  test.each(refused)("%s is refused", (_name, rows, options, message) => {
    expect(() => load(rows, { ...withBert, ...options })).toThrow(message);
    expect(() => load(rows, { ...withBert, ...options })).toThrow(DataError);
  });
});

describe("words", () => {
  test("the label stands at each word's first token", () => {
    const words = ["hello", "naïvedog", "the"];
    const { examples, classes, task } = load([{ tokens: words, ner_tags: ["O", "B", "O"] }], withBert);
    const { words: wordOf } = bert.encodeWords(words);
    const wanted = [...wordOf].map((word, i) => (word === -1 || word === wordOf[i - 1] ? -100 : word === 1 ? 0 : 1));
    expect(list(examples[0]?.labels)).toEqual(wanted);
    expect(wanted.filter((label) => label !== -100)).toEqual([1, 0, 1]);
    expect([task, classes]).toEqual(["token-classification", ["B", "O"]]);
  });

  test("numeric tags may be -100, and cutting keeps the last special token", () => {
    const { examples } = load([{ tokens: ["hello", "the", "dog"], labels: [-100, 1, 0] }], {
      ...withBert,
      maxLength: 4,
    });
    expect(list(examples[0]?.labels)).toEqual([-100, -100, 1, -100]);
  });

  test("one label a word, and words are strings", () => {
    expect(() => load([{ tokens: ["a", "b"], ner_tags: [0] }], withBert)).toThrow(
      /:1: ner_tags has 1 entries, tokens has 2/,
    );
    expect(() => load([{ tokens: ["a", 3], ner_tags: [0, 0] }], withBert)).toThrow(
      /:1: tokens\[1\] is the number 3, a string is needed/,
    );
    expect(() => load([{ tokens: "a", ner_tags: [0] }], withBert)).toThrow(
      /:1: "tokens" is a string, a list is needed/,
    );
  });
});

const good = { input_ids: [1, 2], labels: [1, 2] };
const refused: [string, unknown[], Partial<DatasetOptions>, RegExp][] = [
  [
    "mixed formats",
    [good, good, { text: "a" }],
    {},
    /:3: a row of \{"text"\} in a file of \{"input_ids", "labels"\} \(line 1\)/,
  ],
  [
    "a row without targets",
    [good, { input_ids: [1, 2], labels: [-100, -100] }],
    {},
    /:2: the row has no target: every label is -100/,
  ],
  [
    "a target only at position 0",
    [good, { input_ids: [1, 2], labels: [1, -100] }],
    {},
    /:2: the row has no target.*counted from the second token/,
  ],
  [
    "several rows without targets",
    [good, { input_ids: [1], labels: [1] }, { input_ids: [2], labels: [2] }],
    {},
    /:2: the row has no target.* So have 1 more \(line 3\)/,
  ],
  [
    "no target anywhere",
    [{ input_ids: [1, 2], labels: [-100, -100] }],
    {},
    /data\.jsonl: no row has a target; line 1 has no target/,
  ],
  [
    "targets cut away",
    [good, { input_ids: [1, 2, 3], labels: [-100, -100, 3] }],
    { maxLength: 2 },
    /:2: the row lost its targets when it was cut at 2 tokens\. Raise --max-length/,
  ],
  [
    "an id out of range",
    [good, { input_ids: [1, 100], labels: [1, 2] }],
    {},
    /:2: input_ids\[1\] is the token id 100, the model's vocabulary has 0 to 99/,
  ],
  ["a negative id", [{ input_ids: [-1, 1], labels: [1, 2] }], {}, /input_ids\[0\] is the token id -1/],
  ["a target out of range", [{ input_ids: [1, 2], labels: [-100, 500] }], {}, /:1: labels\[1\] is the token id 500/],
  ["a target of -1", [{ input_ids: [1, 2], labels: [-1, 2] }], {}, /:1: labels\[0\] is the token id -1/],
  [
    "an id that is none",
    [{ input_ids: [1, "2"], labels: [1, 2] }],
    {},
    /input_ids\[1\] is a string, a token id is needed/,
  ],
  [
    "a fractional id",
    [{ input_ids: [1, 2.5], labels: [1, 2] }],
    {},
    /input_ids\[1\] is the number 2.5, a token id is needed/,
  ],
  ["lengths that differ", [{ input_ids: [1, 2], labels: [1, 2, 3] }], {}, /:1: labels has 3 entries, input_ids has 2/],
  ["ids that are no list", [{ input_ids: "1 2", labels: [1, 2] }], {}, /:1: "input_ids" is a string, a list is needed/],
  ["no tokens", [{ input_ids: [], labels: [] }], {}, /:1: the row has no tokens/],
  [
    "more tokens than positions",
    [{ input_ids: [1, 2, 3], label: 0 }],
    { maxPositions: 2 },
    /:1: the row has 3 tokens, the model has 2 positions\. Use --max-length 2 or less/,
  ],
  ["text without a tokenizer", [{ text: "a" }], {}, /:1: the row holds text and the model's folder has no tokenizer/],
  [
    "a prompt that is no string",
    [{ prompt: 3, completion: "b" }],
    withLlama,
    /:1: "prompt" is the number 3, a string is needed/,
  ],
  [
    "a tokenizer with more tokens than the model",
    [{ text: "hello" }],
    { ...withLlama, vocabularySize: 50 },
    /:1: the tokenizer gives the token id \d+, the model's vocabulary has 0 to 49/,
  ],
  [
    "a task that the rows cannot train",
    [good],
    { task: "regression" },
    /:1: rows of \{"input_ids", "labels"\} cannot train the task regression/,
  ],
  ["a length limit of 0", [good], { maxLength: 0 }, /maximum length is 0/],
];
test.each(refused)("%s: refused", (_name, rows, options, message) => {
  expect(() => load(rows, options)).toThrow(message);
  expect(() => load(rows, options)).toThrow(DataError);
});

test("segments are tokenized one by one, and nothing is added", () => {
  const rows = [
    {
      segments: [
        { label: false, text: "<s>hello " },
        { label: true, text: "world</s>" },
      ],
    },
  ];
  const first = list(llama.encode("<s>hello ", { special: false }));
  const second = list(llama.encode("world</s>", { special: false }));
  const [example] = load(rows, withLlama).examples;
  expect(list(example?.ids)).toEqual([...first, ...second]);
  expect(list(example?.labels)).toEqual([...first.map(() => -100), ...second]);
  expect(() => load([{ segments: [{ text: "a", label: 1 }] }], withLlama)).toThrow(
    /:1: segments\[0\]: "label" is the number 1, true or false is needed/,
  );
});

test("messages without a chat template are refused, and cut on the right with one", () => {
  const rows = [
    {
      messages: [
        { role: "user", content: "hello" },
        { role: "assistant", content: "the dog" },
      ],
    },
  ];
  const none = { ...llama, chatTemplate: null };
  expect(() => load(rows, { ...withLlama, tokenizer: none })).toThrow(
    /data\.jsonl:1: rows of messages need a chat template, and the model has none\. Use a chat model/,
  );
  const chatTemplate =
    "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}";
  const tokenizer = { ...llama, chatTemplate };
  const [whole] = load(rows, { ...withLlama, tokenizer }).examples;
  const length = whole!.ids.length;
  const cut = load(rows, { ...withLlama, tokenizer, maxLength: length - 2 });
  expect(list(cut.examples[0]?.labels)).toEqual(list(whole?.labels).slice(0, -2));
  expect(cut.statistics.truncatedRows).toBe(1);
  expect(() => load(rows, { ...withLlama, tokenizer, maxLength: 3 })).toThrow(
    /lost its targets when it was cut at 3 tokens/,
  );
});
