/** Answers held to a form, through OpenAI's own client, from the embedded base, which by itself writes no JSON. */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { type Running, serving } from "./running.ts";

const root = mkdtempSync(join(tmpdir(), "serve-forms-"));
let server: Running;
let client: OpenAI;

beforeAll(async () => {
  const model = join(root, "m");
  cpSync(fileURLToPath(new URL("../../embedded/gpt2-tiny", import.meta.url)), model, { recursive: true });
  writeFileSync(join(model, "chat_template.jinja"), "{% for m in messages %}{{ m.content }} {% endfor %}");
  server = await serving(["--model", model]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server.stop();
  rmSync(root, { recursive: true });
});

const messages = [{ role: "user" as const, content: "In the evening" }];
const person = z.object({
  name: z.string().max(12),
  age: z.number().int().min(0).max(120),
  tags: z.array(z.enum(["a", "b c"])).max(3),
});

test("response_format json_schema: the client parses every answer, greedy or drawn, whole or streamed", async () => {
  const request = { model: "m", messages, max_tokens: 200, response_format: zodResponseFormat(person, "person") };
  const answers = await Promise.all(
    [0, 1, 1, 1.5].map(async (temperature, seed) => {
      const { choices } = await client.chat.completions.parse({ ...request, temperature, seed });
      expect(choices[0]!.finish_reason).toBe("stop");
      return choices[0]!.message.parsed;
    }),
  );
  for (const answer of answers) expect(person.parse(answer)).toEqual(answer);
  const streamed = await client.chat.completions.stream({ ...request, temperature: 0 }).finalChatCompletion();
  expect(streamed.choices[0]!.message.parsed).toEqual(answers[0]);
});

test("each row of a batch has its own form, and those without one are as they are alone", async () => {
  const plain = { model: "m", prompt: "In the evening the", max_tokens: 24, temperature: 0 };
  const alone = await client.completions.create(plain);
  const [free, date, word, json] = await Promise.all([
    client.completions.create(plain),
    client.completions.create({ ...plain, guided_regex: "\\d{4}-(0[1-9]|1[0-2])" } as typeof plain),
    client.completions.create({ ...plain, structured_outputs: { choice: ["red", "green"] } } as typeof plain),
    client.completions.create({
      ...plain,
      max_tokens: 400,
      guided_json: { type: "array", maxItems: 2 },
    } as typeof plain),
  ]);
  expect(free.choices[0]!.text).toBe(alone.choices[0]!.text);
  expect(date.choices[0]!.text).toMatch(/^\d{4}-(0[1-9]|1[0-2])$/);
  expect(["red", "green"]).toContain(word.choices[0]!.text);
  if (json.choices[0]!.finish_reason === "stop") expect(JSON.parse(json.choices[0]!.text)).toBeInstanceOf(Array);
});

test("tool_choice required, or a tool by name: the answer is a call whose arguments hold to its schema", async () => {
  const tool = (name: string, parameters: z.ZodType) => ({
    type: "function" as const,
    function: { name, parameters: z.toJSONSchema(parameters) as Record<string, unknown> },
  });
  const place = z.object({ city: z.enum(["Bern", "Oslo"]), days: z.number().int().min(1).max(5) });
  const tools = [tool("weather", place), tool("time", z.object({}))];
  const request = { model: "m", messages, tools, max_tokens: 100, temperature: 0 };
  const any = await client.chat.completions.create({ ...request, tool_choice: "required" });
  expect(any.choices[0]!.finish_reason).toBe("tool_calls");
  expect(any.choices[0]!.message).toMatchObject({ content: null, tool_calls: [{ type: "function" }] });
  const choice = { type: "function" as const, function: { name: "weather" } };
  const stream = client.chat.completions.stream({ ...request, tool_choice: choice });
  const [call] = (await stream.finalChatCompletion()).choices[0]!.message.tool_calls!;
  if (call?.type !== "function") throw new Error("no call");
  expect(call.function.name).toBe("weather");
  expect(place.safeParse(JSON.parse(call.function.arguments)).success).toBe(true);
});

test("what cannot be held to is refused with its place", async () => {
  const ask = async (fields: object): Promise<string> => {
    const response = await server.post("/v1/chat/completions", { model: "m", messages, max_tokens: 4, ...fields });
    expect(response.status).toBe(400);
    return ((await response.json()) as { error: { message: string } }).error.message;
  };
  const schema = { type: "object", properties: { a: { not: {} } } };
  expect(await ask({ response_format: { type: "json_schema", json_schema: { schema } } })).toMatch(
    /at \/properties\/a: "not" is not supported/,
  );
  expect(await ask({ guided_regex: "(a" })).toMatch(/a group without an end/);
  expect(await ask({ guided_regex: "a", guided_choice: ["b"] })).toMatch(/one form; found several/);
  expect(await ask({ tool_choice: "required" })).toMatch(/no such tool/);
  expect(await ask({ response_format: { type: "grammar" } })).toMatch(/response_format/);
});
