/**
 * LangChain's ChatOpenAI against the server: `npx vitest run --config test/peers.config.ts test/serve`. LOWRANK_LANGCHAIN
 * names a folder where `npm install @langchain/openai @langchain/core` was run: they are too large to depend on.
 */

import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { writeScriptedModel } from "../generate/scripted-model.ts";
import { serving } from "./running.ts";

const installed = process.env["LOWRANK_LANGCHAIN"];

test.skipIf(installed === undefined)("LangChain's ChatOpenAI: texts and tools, whole and streamed", async () => {
  const root = mkdtempSync(join(tmpdir(), "serve-langchain-"));
  const script = join(installed!, "check_with_langchain.mjs"); // it imports from the folder that it lies in
  copyFileSync(fileURLToPath(new URL("check_with_langchain.mjs", import.meta.url)), script);
  writeScriptedModel(join(root, "said"), {
    chatTemplate: `{# <tool_call> #}{% if tools %}${"user ".repeat(9)}assistant{% else %}user assistant{% endif %}`,
    words: ["user", "assistant"],
    answers: new Map([
      [2, "Hello there."],
      [10, '<tool_call> {"name": "weather", "arguments": {"city": "Bern"}} </tool_call>'],
    ]),
  });
  const server = await serving(["--model", join(root, "said"), "--api-key", "ours"]);
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [script, `${server.url}/v1`, "ours"]);
    const called = [["weather", { city: "Bern" }]];
    const [text, streamed] = ["Hello there.", "Hello there."];
    expect(JSON.parse(stdout)).toEqual({ text, tokens: 3, streamed, called, streamedCalls: called });
  } finally {
    await server.stop();
    rmSync(script);
    rmSync(root, { recursive: true });
  }
});
