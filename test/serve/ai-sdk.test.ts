/** Vercel's AI SDK over HTTP, by its provider for servers like OpenAI's: texts, tools and objects. */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { writeScriptedModel } from "../generate/scripted-model.ts";
import { type Running, serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-ai-"));
const servers: Running[] = [];
const place = z.object({ city: z.enum(["Bern", "Oslo"]), days: z.number().int().min(1).max(5) });

async function provider(folder: string): Promise<ReturnType<typeof createOpenAICompatible>> {
  const server = await serving(["--model", folder]);
  servers.push(server);
  return createOpenAICompatible({
    name: "lowrank",
    baseURL: `${server.url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}
let said: Awaited<ReturnType<typeof provider>>;
let embedded: Awaited<ReturnType<typeof provider>>;

beforeAll(async () => {
  const call = '<tool_call> {"name": "weather", "arguments": {"city": "Bern", "days": 2}} </tool_call>';
  writeScriptedModel(join(root, "said"), {
    chatTemplate: `{# <tool_call> #}{% if messages[-1].role == 'tool' %}${"user ".repeat(30)}assistant{% elif tools %}${"user ".repeat(9)}assistant{% else %}user assistant{% endif %}`,
    words: ["user", "assistant"],
    answers: new Map([
      [2, "Hello there."],
      [10, call],
      [31, "It rains."],
    ]),
  });
  const folder = join(root, "embedded");
  cpSync(fileURLToPath(new URL("../../embedded/gpt2-tiny", import.meta.url)), folder, { recursive: true });
  writeFileSync(join(folder, "chat_template.jinja"), "{% for m in messages %}{{ m.content }} {% endfor %}");
  said = await provider(join(root, "said"));
  embedded = await provider(folder);
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(root, { recursive: true });
});

test("generateText and streamText: the same text and usage", async () => {
  const request = { model: said("said"), prompt: "hi", temperature: 0 };
  const { text, usage, finishReason } = await generateText(request);
  expect([text, finishReason, usage.outputTokens]).toEqual(["Hello there.", "stop", 3]);
  const stream = streamText(request);
  const parts: string[] = [];
  for await (const part of stream.textStream) parts.push(part);
  expect(parts.length).toBeGreaterThan(1);
  expect([parts.join(""), (await stream.usage).outputTokens]).toEqual([text, 3]);
});

test("tools: the SDK runs them and gives their results back, whole and streamed", async () => {
  const asked: unknown[] = [];
  const request = {
    model: said("said"),
    prompt: "hi",
    temperature: 0,
    stopWhen: ({ steps }: { steps: readonly unknown[] }) => steps.length === 2,
    tools: {
      weather: tool({
        description: "The weather of a city",
        inputSchema: place,
        execute: async (input) => {
          asked.push(input);
          return "rain";
        },
      }),
    },
  };
  expect((await generateText(request)).text).toBe("It rains.");
  expect(await streamText(request).text).toBe("It rains.");
  expect(asked).toEqual([
    { city: "Bern", days: 2 },
    { city: "Bern", days: 2 },
  ]);
});

test("objects: the answer holds to the schema", async () => {
  const output = Output.object({ schema: place });
  const whole = await generateText({ model: embedded("embedded"), prompt: "In the evening", temperature: 0, output });
  expect(place.safeParse(whole.output).success).toBe(true);
});
