/** Tools and objects of the AI SDK in process, from models that say what they are told to. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { writeScriptedModel } from "../generate/scripted-model.ts";

const root = mkdtempSync(join(tmpdir(), "lowrank-ai-tools-"));
const folder = join(root, "m");
// As built: its thread is a file of its own.
const DIST = new URL("../../dist/ai/provider.js", import.meta.url).href;
const { createLowrank } = (await import(DIST)) as typeof import("../../src/ai/provider.ts");
const lowrank = createLowrank({ model: folder, threads: 1 });
const silent = createLowrank({ model: join(root, "silent"), threads: 1 });
const embedded = createLowrank({ model: "embedded:gpt2-tiny", threads: 1 });

/** Prompts of so many tokens stand for the question, for a broken call, for the answer to a tool's result. */
const LENGTHS = { question: 2, broken: 30, result: 60 };
const filled = (count: number): string => Array.from({ length: count - 1 }, () => "user").join(" ");
const TEMPLATE =
  `{% if messages[-1].role == 'tool' %}{{ messages[1].tool_calls[0].function.arguments.city }} ${filled(LENGTHS.result)}` +
  `{% elif messages[-1].content == 'broken' %}${filled(LENGTHS.broken)} assistant{% else %}user assistant{% endif %}`;
const CALL = '<tool_call> {"name": "weather", "arguments": {"city": "Bern"}} </tool_call>';
const BROKEN = '<tool_call> {"name": weather} </tool_call>';

beforeAll(() => {
  const words = ["user", "assistant", "Bern"];
  const answers = new Map([
    [LENGTHS.question, `Sure. ${CALL} ${CALL}`],
    [LENGTHS.broken, BROKEN],
    [LENGTHS.result, "It rains."],
  ]);
  writeScriptedModel(folder, { chatTemplate: `{# <tool_call> #}${TEMPLATE}`, words, answers });
  writeScriptedModel(join(root, "silent"), { chatTemplate: TEMPLATE, words, answers });
});
afterAll(async () => {
  await Promise.all([lowrank.close(), silent.close(), embedded.close()]);
  rmSync(root, { recursive: true });
});

const asked: unknown[] = [];
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: (given) => {
    asked.push(given);
    return { sky: "rain" };
  },
});
const tools = { weather };

test("the SDK's loop: calls are run, the template reads calls and results, the model answers", async () => {
  asked.length = 0;
  const { text, steps } = await generateText({ model: lowrank(), prompt: "weather", tools, stopWhen: stepCountIs(3) });
  expect(asked).toEqual([{ city: "Bern" }, { city: "Bern" }]);
  expect(steps.map(({ finishReason }) => finishReason)).toEqual(["tool-calls", "stop"]);
  expect(steps[0]!.text).toBe("Sure.");
  expect(new Set(steps[0]!.toolCalls.map(({ toolCallId }) => toolCallId)).size).toBe(2);
  expect(text).toBe("It rains.");
});

test("streamed, the same parts in order: text, each call's input, the call, the end", async () => {
  const stream = streamText({ model: lowrank(), prompt: "weather", tools });
  const types: string[] = [];
  for await (const { type } of stream.fullStream) if (types.at(-1) !== type) types.push(type);
  const call = ["tool-input-start", "tool-input-delta", "tool-input-end", "tool-call"];
  const inner = types.slice(types.indexOf("text-start"), types.indexOf("finish-step"));
  expect(inner.filter((type) => type !== "tool-result")).toEqual([
    "text-start",
    "text-delta",
    "text-end",
    ...call,
    ...call,
  ]);
  expect(await stream.text).toBe("Sure.");
  expect((await stream.toolCalls).map(({ input }) => input)).toEqual([{ city: "Bern" }, { city: "Bern" }]);
  expect(await stream.finishReason).toBe("tool-calls");
});

test("what is no call, and what is asked without tools or with toolChoice none, stays text", async () => {
  const broken = await generateText({ model: lowrank(), prompt: "broken", tools });
  expect([broken.text, broken.toolCalls.length, broken.finishReason]).toEqual([BROKEN, 0, "stop"]);
  for (const given of [{}, { tools, toolChoice: "none" as const }]) {
    const { text } = await generateText({ model: lowrank(), prompt: "weather", ...given });
    expect(text).toBe(`Sure. ${CALL} ${CALL}`);
  }
});

test("a call that is demanded comes from any model, also one that knows nothing of tools", async () => {
  const other = tool({ inputSchema: z.object({ zone: z.enum(["a", "b"]) }), execute: () => "noon" });
  for (const toolChoice of ["required", { type: "tool", toolName: "other" }] as const) {
    const { toolCalls, finishReason } = await generateText({
      model: embedded.completion(),
      prompt: "In the evening",
      tools: { other },
      toolChoice,
      temperature: 1,
      seed: 3,
    });
    expect(finishReason).toBe("tool-calls");
    expect(toolCalls).toMatchObject([{ toolName: "other" }]);
    expect(["a", "b"]).toContain((toolCalls[0]!.input as { zone: string }).zone);
  }
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "x" }] }];
  const missing = embedded.completion().doGenerate({ prompt, toolChoice: { type: "required" } });
  await expect(missing).rejects.toThrow(/no such tool/);
});

test("objects: every answer is an instance of the schema, whole and streamed; JSON without a schema too", async () => {
  const schema = z.object({ name: z.string().max(12), age: z.number().int().min(0).max(120) });
  const request = { model: embedded.completion(), prompt: "In the evening", maxOutputTokens: 200 };
  const output = Output.object({ schema });
  const whole = await generateText({ ...request, output });
  expect(schema.parse(whole.output)).toEqual(whole.output);
  const stream = streamText({ ...request, output });
  expect(JSON.parse(await stream.text)).toEqual(whole.output);
  const { content } = await request.model.doGenerate({
    prompt: [{ role: "user", content: [{ type: "text", text: "In the evening" }] }],
    responseFormat: { type: "json" },
    maxOutputTokens: 60,
  });
  expect(content[0]).toMatchObject({ type: "text", text: expect.stringMatching(/^\s*\{/) });
});

test("what it cannot do with tools is said", async () => {
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "weather" }] }];
  const given = { type: "function" as const, name: "weather", inputSchema: { type: "object" as const } };
  const unknown = await silent().doGenerate({ prompt, tools: [given] });
  expect(unknown.warnings).toMatchObject([{ type: "unsupported", feature: "tools" }]);
  const own = { type: "provider" as const, id: "x.search" as const, name: "search", args: {} };
  const both = await lowrank().doGenerate({ prompt, tools: [given, own], responseFormat: { type: "json" } });
  expect(both.warnings.map((each) => each.type === "unsupported" && each.feature)).toEqual([
    "tool search",
    "responseFormat",
  ]);
  expect(both.content.map(({ type }) => type)).toEqual(["text", "tool-call", "tool-call"]);
});
