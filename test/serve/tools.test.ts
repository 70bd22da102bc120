/** Calls of tools through OpenAI's own client, from models that are made to write them in their families' formats. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeScriptedModel } from "../generate/scripted-model.ts";
import { type Running, serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-tools-"));
afterAll(() => rmSync(root, { recursive: true }));

const FORMATS = {
  hermes: {
    mark: "<tool_call>",
    special: [],
    one: 'Sure. <tool_call> {"name": "weather", "arguments": {"city": "Bern"}} </tool_call>',
    two: '<tool_call> {"name": "weather", "arguments": {"city": "Bern"}} </tool_call> <tool_call> {"name": "time"} </tool_call>',
    broken: '<tool_call> {"name": weather} </tool_call>',
    before: "Sure.",
  },
  llama: {
    mark: "<|python_tag|>",
    special: ["<|python_tag|>"],
    one: '<|python_tag|> {"name": "weather", "parameters": {"city": "Bern"}}',
    two: '{"name": "weather", "parameters": {"city": "Bern"}} ; {"name": "time"}',
    broken: '{"name": "weather", "parameters": city}',
    before: null,
  },
  mistral: {
    mark: "[TOOL_CALLS]",
    special: ["[TOOL_CALLS]"],
    one: 'Sure. [TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bern"}}]',
    two: '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bern"}}, {"name": "time"}]',
    broken: "[TOOL_CALLS] [{]",
    before: "Sure.",
  },
};

/** Prompts of as many tokens as `one`, `two`, `broken` and the answer to a tool's result are told for. */
const LENGTHS = { one: 2, two: 20, broken: 50, result: 80 };
const filled = (count: number): string => Array.from({ length: count - 1 }, () => "user").join(" ");
const TEMPLATE =
  `{% if messages[-1].role == 'tool' %}{{ messages[-2].tool_calls[0].function.arguments.city }} ${filled(LENGTHS.result)}` +
  `{% elif messages[0].content == 'two' %}${filled(LENGTHS.two)} assistant` +
  `{% elif messages[0].content == 'broken' %}${filled(LENGTHS.broken)} assistant{% else %}user assistant{% endif %}`;

const tool = (name: string, properties: object) => ({
  type: "function" as const,
  function: { name, parameters: { type: "object", properties } },
});
const tools = [tool("weather", { city: { type: "string" } }), tool("time", {})];
const ask = (content: string) => ({
  model: "m",
  messages: [{ role: "user" as const, content }],
  tools,
  temperature: 0,
});

describe.each(Object.entries(FORMATS))("%s", (format, { mark, special, one, two, broken, before }) => {
  let server: Running;
  let client: OpenAI;

  beforeAll(async () => {
    const model = join(root, format, "m");
    writeScriptedModel(model, {
      chatTemplate: `{# ${mark} #}${TEMPLATE}`,
      words: ["user", "assistant", "Bern"],
      special,
      answers: new Map([
        [LENGTHS.one, one],
        [LENGTHS.two, two],
        [LENGTHS.broken, broken],
        [LENGTHS.result, "It rains."],
      ]),
    });
    server = await serving(["--model", model]);
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  });
  afterAll(() => server.stop());

  test("a call of the answer arrives as one, beside the text before it", async () => {
    const { choices } = await client.chat.completions.create(ask("one"));
    expect(choices[0]!.finish_reason).toBe("tool_calls");
    const { content, tool_calls } = choices[0]!.message;
    expect(content).toBe(before);
    expect(tool_calls).toMatchObject([{ type: "function", function: { name: "weather" } }]);
    const [call] = tool_calls!;
    expect(call!.type === "function" && JSON.parse(call!.function.arguments)).toEqual({ city: "Bern" });
  });

  test("streamed, the client's helper puts the same calls together", async () => {
    const names: string[] = [];
    const stream = client.chat.completions.stream(ask("two")).on("tool_calls.function.arguments.done", ({ name }) => {
      names.push(name);
    });
    const { choices } = await stream.finalChatCompletion();
    expect(choices[0]!.finish_reason).toBe("tool_calls");
    const calls = choices[0]!.message.tool_calls!;
    expect(calls.map((call) => call.type === "function" && [call.function.name, call.function.arguments])).toEqual([
      ["weather", '{"city": "Bern"}'],
      ["time", "{}"],
    ]);
    expect(names).toEqual(["weather", "time"]);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
    const single = await client.chat.completions.create({ ...ask("two"), parallel_tool_calls: false });
    expect(single.choices[0]!.message.tool_calls).toHaveLength(1);
  });

  test("what is no call stays text, and so does everything without tools or with tool_choice none", async () => {
    const { choices } = await client.chat.completions.create(ask("broken"));
    expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: broken } });
    expect(choices[0]!.message.tool_calls).toBeUndefined();
    const { tools: _, ...without } = ask("one");
    for (const request of [without, { ...ask("one"), tool_choice: "none" as const }]) {
      const plain = await client.chat.completions.create(request);
      expect(plain.choices[0]!.finish_reason).toBe("stop");
      expect(plain.choices[0]!.message.content).toContain("weather");
    }
  });

  test("runTools: the client runs the function, the template reads call and result, the model answers", async () => {
    const asked: unknown[] = [];
    const runner = client.chat.completions.runTools({
      ...ask("one"),
      tools: [
        {
          type: "function",
          function: {
            name: "weather",
            description: "The weather of a city",
            parameters: { type: "object", properties: { city: { type: "string" } } },
            parse: JSON.parse,
            function: (given: object) => {
              asked.push(given);
              return "rain";
            },
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe("It rains.");
    expect(asked).toEqual([{ city: "Bern" }]);
  });
});
