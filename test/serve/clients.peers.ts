/**
 * OpenAI's Python client against the server: `npx vitest run --config test/peers.config.ts test/serve`. LOWRANK_PYTHON
 * names a Python with the package `openai`.
 */

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "../generate/random-adapter.ts";
import { writeWordedModel } from "../generate/worded-model.ts";
import { serving } from "./running.ts";

const python = process.env["LOWRANK_PYTHON"] ?? "python3";
const script = fileURLToPath(new URL("check_with_openai.py", import.meta.url));

test("OpenAI's Python client reads the library's texts, whole and streamed", async () => {
  const root = mkdtempSync(join(tmpdir(), "serve-python-"));
  const model = join(root, "tiny");
  const path = join(root, "mine");
  writeWordedModel(model);
  const base = await loadBase(model, { threads: 1 }, nodeRuntime);
  savePeftFolder(path, randomAdapter(base.model, { r: 4, lora_alpha: 32, target_modules: ["c_attn"] }, 1));
  const adapters = [[await base.adapter(path), 0.7]] as const;
  const messages = [{ role: "user", content: "hello world" }];
  const chat = await base.complete({ messages, maxTokens: 12, adapters });
  const text = await base.complete({ prompt: "hello world", maxTokens: 12, adapters });
  await base.close();
  const server = await serving(["--model", model, "--adapter", `mine=${path}`, "--api-key", "ours"]);
  try {
    const { stdout } = await promisify(execFile)(python, [script, `${server.url}/v1`, "ours"]);
    expect(JSON.parse(stdout)).toEqual({
      models: ["tiny", "mine"],
      chat: chat.text,
      usage: [chat.promptTokens, chat.completionTokens],
      streamed_chat: chat.text,
      text: text.text,
      streamed_text: text.text,
      refused: "model_not_found",
    });
  } finally {
    await server.stop();
    rmSync(root, { recursive: true });
  }
});
