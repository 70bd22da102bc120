import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";
import reference from "./beams.json" with { type: "json" };
import { randomAdapter } from "./random-adapter.ts";

test.each(reference.results)(
  "$model: $beams beams, length penalty $lengthPenalty, n-gram $noRepeatNgram, end $end: transformers' tokens",
  async ({ model, tokens, end, ...settings }) => {
    const folder = mkdtempSync(join(tmpdir(), "beam-"));
    cpSync(`${caseFolder(model)}/model`, folder, { recursive: true });
    const path = join(folder, "config.json");
    const config = JSON.parse(readFileSync(path, "utf8")) as object;
    writeFileSync(path, JSON.stringify({ ...config, eos_token_id: end }));
    rmSync(join(folder, "generation_config.json"), { force: true });
    const base = await loadBase(folder, { threads: 1 }, nodeRuntime);
    const { prompt: tokenIds } = reference;
    const got = await base.complete({ ...settings, tokenIds, maxTokens: 20, ignoreEnd: end === null });
    expect(got.tokenIds).toEqual(tokens);
    expect(got.finishReason).toBe(end !== null && tokens.at(-1) === end ? "stop" : "length");
    await base.close();
    rmSync(folder, { recursive: true });
  },
);

test("beams with an adapter, beside other sequences, are those that run alone; one beam is greedy", async () => {
  const base = await loadBase(`${caseFolder("llama-gqa-tied")}/model`, { threads: 1, prefixBytes: 0 }, nodeRuntime);
  const adapter = randomAdapter(base.model, { r: 4, target_modules: ["q_proj", "v_proj"] }, 1);
  const request = { tokenIds: reference.prompt, maxTokens: 12, ignoreEnd: true, adapters: [[adapter, 1]] } as const;
  const alone = await base.complete({ ...request, beams: 4 });
  const [together, greedy] = await Promise.all([
    base.complete({ ...request, beams: 4 }),
    base.complete({ ...request, adapters: [] }),
  ]);
  expect(together.tokenIds).toEqual(alone.tokenIds);
  expect(greedy.tokenIds).toEqual((await base.complete({ ...request, adapters: [], beams: 1 })).tokenIds);
  await expect(base.complete({ ...request, beams: 4, temperature: 1 })).rejects.toThrow(/draws nothing/);
  await base.close();
});
