import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chatTokens } from "../../src/data/chat-targets.ts";
import { chatTemplateOf } from "../../src/data/chat-template.ts";
import { type ConversationFormat, readConversation } from "../../src/data/conversation.ts";
import type { JsonObject } from "../../src/data/json-values.ts";
import { labelReader } from "../../src/data/labels.ts";
import { type RowSettings, readRow } from "../../src/data/row-reader.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer.ts";

interface ExpectedRow {
  readonly row: JsonObject & { readonly messages: readonly JsonObject[] };
  readonly text: string;
  readonly ids: readonly number[];
  readonly mask: readonly number[];
  readonly refused?: string;
}
interface Expected {
  readonly folder: string;
  readonly template: string;
  readonly untagged: string;
  readonly rows: readonly ExpectedRow[];
}

const folder = join(import.meta.dirname, "fixtures/chat");
const cases = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as Record<string, Expected>;
const tokenizers = new Map(
  ["chatml", "llama3", "mistral"].map((name) => [name, loadTokenizer(join(folder, name))!] as const),
);

function tokensOf(
  row: JsonObject,
  tokenizer: Tokenizer,
  template: string,
  { format = "messages", maskPrompt = true }: { format?: ConversationFormat; maskPrompt?: boolean } = {},
): { ids: number[]; mask: number[]; labels: number[] } {
  const compiled = chatTemplateOf({ chatTemplate: template, config: tokenizer.config }, "F");
  const conversation = readConversation(row, format, "f:3");
  const { ids, labels } = chatTokens(conversation, compiled, tokenizer, { maskPrompt, where: "f:3" });
  for (const [i, label] of labels.entries()) if (label !== -100) expect(label).toBe(ids[i]);
  return { ids: [...ids], mask: [...labels].map((label) => (label === -100 ? 0 : 1)), labels: [...labels] };
}

for (const [name, { folder: model, template, untagged, rows }] of Object.entries(cases)) {
  const tokenizer = tokenizers.get(model)!;
  describe(`${name}, as transformers`, () => {
    for (const [i, { row, ids, mask, refused }] of rows.entries()) {
      const which = `row ${i + 1}`;
      if (refused?.startsWith("Conversation")) {
        test(`${which} is refused`, () => {
          expect(() => tokensOf(row, tokenizer, template)).toThrow(/f:3: .*roles must alternate/);
        });
      }
      // Templates that know no tool calls print an empty turn in Python, and are refused here.
      if (refused !== undefined || (i === 4 && name !== "chatml")) continue;
      test(`${which}: ids and mask of the generation tags`, () => {
        expect(tokensOf(row, tokenizer, template)).toMatchObject({ ids, mask });
      });
      // What this template puts between prompt and answer is generated, though its tags leave it out.
      if (name === "thinking") continue;
      test(`${which}: the same without the tags`, () => {
        const found = tokensOf(row, tokenizer, untagged);
        if (i === 2 && (name === "chatml" || name === "smollm2")) {
          // "\n\n\n" across the prompt's end: generation begins behind the prompt's own "\n".
          found.mask[mask.lastIndexOf(0, mask.length - 2) + 1] = 1;
        }
        expect(found).toMatchObject({ ids, mask });
      });
    }
  });
}

test.each(Object.entries(cases))("%s: cut at a length, ids and mask are transformers' first ones", (_, expected) => {
  const tokenizer = tokenizers.get(expected.folder)!;
  const template = chatTemplateOf({ chatTemplate: expected.template, config: tokenizer.config }, "F");
  for (const { row, ids, mask, refused } of expected.rows) {
    if (refused !== undefined || row["tools"]) continue;
    const maxLength = mask.indexOf(1) + 2; // in the middle of the first answer
    const settings: RowSettings = {
      ...{ task: "causal-lm", tokenizer, endId: null, maxLength, maskPrompt: true, vocabularySize: 1e6 },
      chatTemplate: () => template,
    };
    const labels = labelReader(undefined, undefined, new Set(), "f");
    const read = readRow(row, "messages", settings, labels, "f:1");
    expect(read.truncated).toBe(true);
    expect([...read.ids]).toEqual(ids.slice(0, maxLength));
    expect(Array.from(read.labels!, (label) => (label === -100 ? 0 : 1))).toEqual(mask.slice(0, maxLength));
  }
});

const chatml = tokenizers.get("chatml")!;
const { untagged: plainChatml, template: taggedChatml } = cases["chatml"]!;
/** The text of the targets. */
function targets(row: JsonObject, template = plainChatml, more: Parameters<typeof tokensOf>[3] = {}): string {
  const { labels } = tokensOf(row, chatml, template, more);
  return chatml.decode(
    labels.filter((label) => label !== -100),
    { skipSpecial: false },
  );
}
const user = (content: string) => ({ role: "user", content });
const bot = (content: string, more = {}) => ({ role: "assistant", content, ...more });

test("a turn that later turns change is refused with the cause, but for weight 0", () => {
  const { untagged, rows } = cases["thinking"]!;
  const { row } = rows[6]!;
  expect(() => targets(row, untagged)).toThrow(
    /^f:3: the tokens of message 2 \(assistant\) cannot be told exactly: the chat template renders it differently when 2 more messages follow .*"weight": 0/,
  );
  const silent = { messages: row.messages.with(1, { ...row.messages[1]!, weight: 0 }) };
  expect(targets(silent, untagged)).toBe("<think>dog</think>world<|im_end|>");
});

test("a conversation that begins with the assistant is found by marks", () => {
  const row = { messages: [bot(" hello "), user("world"), bot("the dog")] };
  expect(targets(row)).toBe(" hello <|im_end|>the dog<|im_end|>");
  expect(targets(row, taggedChatml)).toBe(" hello <|im_end|>the dog<|im_end|>");
});

test("--no-mask-prompt trains on everything but turns of weight 0", () => {
  const row = { messages: [user("a"), bot("bad", { weight: 0 }), user("b"), bot("good")] };
  const { labels, ids } = tokensOf(row, chatml, plainChatml, { maskPrompt: false });
  const off = ids.filter((_, i) => labels[i] === -100);
  expect(chatml.decode(off, { skipSpecial: false })).toBe("bad<|im_end|>");
});

test("conversational prompt and completion: everything behind the prompt, as TRL", () => {
  const format = "conversational-completion";
  const row = { prompt: [user("a"), bot("b"), user("c")], completion: [bot("d")] };
  expect(targets(row, plainChatml, { format })).toBe("d<|im_end|>\n");
  const tool = { prompt: "a", completion: [bot("b"), { role: "tool", content: "t" }, bot("c")] };
  expect(targets(tool, plainChatml, { format })).toBe("b<|im_end|>c<|im_end|>");
});

test("ShareGPT and alpaca become the same tokens as messages", () => {
  const call = { name: "f", arguments: { x: 1 } };
  const tool = { type: "function", function: { name: "f", parameters: {} } };
  const shareGpt = {
    conversations: [
      { from: "human", value: "a" },
      { from: "function_call", value: JSON.stringify(call) },
      { from: "observation", value: "o" },
      { from: "gpt", value: "b" },
    ],
    system: "s",
    tools: JSON.stringify([tool.function]),
  };
  const messages = [
    { role: "system", content: "s" },
    user("a"),
    {
      role: "assistant",
      content: null,
      tool_calls: [{ type: "function", function: { ...call, arguments: '{"x": 1}' } }],
    },
    { role: "tool", content: "o" },
    bot("b"),
  ];
  const whole = tokensOf({ messages, tools: [tool] }, chatml, plainChatml);
  expect(tokensOf(shareGpt, chatml, plainChatml, { format: "sharegpt" })).toEqual(whole);
  const row = { instruction: "translate", input: "chat", output: "cat", system: "s", history: [["q", "a"]] };
  const same = {
    messages: [{ role: "system", content: "s" }, user("q"), bot("a"), user("translate\nchat"), bot("cat")],
  };
  expect(tokensOf(row, chatml, plainChatml, { format: "alpaca" })).toEqual(tokensOf(same, chatml, plainChatml));
});

test.each([
  [{ messages: [user("a")] }, /^f:3: the row has no target: .* \(found: user\)/],
  [
    { messages: [user("a"), bot("b", { weight: 0 })] },
    /^f:3: the row has no target: each assistant message has the weight 0/,
  ],
  [{ messages: [user("a"), bot("b", { weight: 0.5 })] }, /^f:3: message 2 has the weight 0.5, 0 or 1 is needed/],
  [{ messages: [{ ...user("a"), weight: 1 }] }, /message 1 \(user\) has a weight/],
  [{ messages: [{ content: "a" }] }, /^f:3: message 1 is without a role/],
  [{ messages: [] }, /"messages" is an empty list/],
  [
    { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }, bot("b")] },
    /message 1, part 1 is of the type "image_url"/,
  ],
  [
    { messages: [bot("", { tool_calls: [{ function: { name: "f", arguments: "{" } }] })] },
    /message 1 calls a tool with arguments that are no JSON/,
  ],
])("refuses %j", (row, message) => {
  expect(() => targets(row)).toThrow(message);
});
