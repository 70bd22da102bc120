import { describe, expect, test } from "vitest";
import { toolFormatOf } from "../../src/generate/tool-format.ts";
import { toolParser } from "../../src/generate/tool-parser.ts";

const KNOWN = new Set(["weather", "time"]);

/** What comes of a text in pieces of any size, which must not matter. */
function parse(format: "hermes" | "llama" | "mistral", text: string): { text: string; calls: [string, string][] } {
  const results = [1, 3, 7, text.length].map((size) => {
    const parser = toolParser(format, KNOWN);
    const steps = [];
    for (let at = 0; at < text.length; at += size) steps.push(parser.push(text.slice(at, at + size)));
    steps.push(parser.end());
    return {
      text: steps.map((step) => step.text).join(""),
      calls: steps.flatMap(({ calls }) => calls.map((call): [string, string] => [call.name, call.arguments])),
    };
  });
  for (const result of results) expect(result).toEqual(results[0]);
  return results[0]!;
}

describe("hermes", () => {
  test("calls between tags, with text before them and numbers as they were written", () => {
    const call = (body: string): string => `<tool_call>\n${body}\n</tool_call>`;
    const first = call('{"name": "weather", "arguments": {"city": "Köln <b>", "id": 12345678901234567890, "x": 1.0}}');
    const second = call('{"arguments": {}, "name": "time"}');
    expect(parse("hermes", `I look.\n${first}\n${second}\n`)).toEqual({
      text: "I look.",
      calls: [
        ["weather", '{"city": "Köln <b>", "id": 12345678901234567890, "x": 1.0}'],
        ["time", "{}"],
      ],
    });
  });

  test("a call without its closing tag at the end is one; arguments may be text or missing", () => {
    expect(parse("hermes", '<tool_call>{"name": "time", "arguments": "{\\"zone\\": 1}"}').calls).toEqual([
      ["time", '{"zone": 1}'],
    ]);
    expect(parse("hermes", '<tool_call>{"name": "time"}</tool_call>').calls).toEqual([["time", "{}"]]);
  });

  test.each([
    ["no JSON", "a <tool_call>{name: time}</tool_call> b"],
    ["a tool that the request has not", 'a\n<tool_call>{"name": "rm", "arguments": {}}</tool_call>'],
    ["arguments that are no object", '<tool_call>{"name": "time", "arguments": [1]}</tool_call>'],
    ["a name twice", '<tool_call>{"name": "time", "name": "time"}</tool_call>'],
    ["cut off", 'text <tool_call>{"name": "time", "argu'],
    ["no tag at all", " 1 < 2 and <tool is not one \n"],
  ])("%s stays text", (_, text) => {
    expect(parse("hermes", text)).toEqual({ text, calls: [] });
  });

  test("text that cannot begin a tag leaves at once", () => {
    const parser = toolParser("hermes", KNOWN);
    expect(parser.push("Hello there").text).toBe("Hello there");
    expect(parser.push(" <tool").text).toBe("");
    expect(parser.push("box>").text).toBe(" <toolbox>");
  });
});

describe("llama", () => {
  test("an answer that is objects is calls, with the tag or without it", () => {
    const written = '{"name": "weather", "parameters": {"city": "Bern"}}; {"name": "time", "parameters": {}}';
    const calls = [
      ["weather", '{"city": "Bern"}'],
      ["time", "{}"],
    ];
    expect(parse("llama", written)).toEqual({ text: "", calls });
    expect(parse("llama", `\n<|python_tag|>${written}`)).toEqual({ text: "", calls });
  });

  test.each([
    ["JSON that is an answer", '{"name": "Bern", "parameters": {}}'],
    ["code", '<|python_tag|>brave_search.call(query="x")'],
    ["text with braces in it", 'Use {"name": "time", "parameters": {}} for it.'],
    ["a call followed by text", '{"name": "time", "parameters": {}} is what I call'],
  ])("%s stays text", (_, text) => {
    expect(parse("llama", text)).toEqual({ text, calls: [] });
  });
});

describe("mistral", () => {
  test("a list of calls, and the newer form by names", () => {
    const calls = [
      ["weather", '{"city": "Paris"}'],
      ["time", "{}"],
    ];
    expect(
      parse(
        "mistral",
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "time", "arguments": {}}]',
      ),
    ).toEqual({ text: "", calls });
    expect(
      parse("mistral", 'So:[TOOL_CALLS]weather[ARGS]{"city": "Paris"}[TOOL_CALLS]time[CALL_ID]a1[ARGS]{}'),
    ).toEqual({ text: "So:", calls });
  });

  test("ids are nine letters and digits, which its templates ask for", () => {
    const { calls } = toolParser("mistral", KNOWN).push("");
    expect(calls).toEqual([]);
    const parser = toolParser("mistral", KNOWN);
    parser.push('[TOOL_CALLS] [{"name": "time", "arguments": {}}]');
    expect(parser.end().calls[0]!.id).toMatch(/^[a-z0-9]{9}$/);
  });

  test("what is no call stays text", () => {
    const text = "[TOOL_CALLS] [1, 2]";
    expect(parse("mistral", text)).toEqual({ text, calls: [] });
  });
});

test("the format is told from the chat template", () => {
  expect(toolFormatOf("{{ '<tool_call>' }}")).toBe("hermes");
  expect(toolFormatOf("<tool_call>\n<function=name>")).toBeNull();
  expect(toolFormatOf('Respond in the format {"name": function name, "parameters": dictionary}')).toBe("llama");
  expect(toolFormatOf("{{ '[TOOL_CALLS]' }}")).toBe("mistral");
  expect(toolFormatOf("{{ messages }}")).toBeNull();
  expect(toolFormatOf(null)).toBeNull();
});
