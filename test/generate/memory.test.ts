/** What completions leave behind in memory: nothing. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { loadBase } from "../../src/generate/load.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("completions that could have been cancelled hold no memory once they are done", async () => {
  const base = await loadBase(`${caseFolder("gpt2-c_attn")}/model`, { threads: 1, prefixBytes: 0 }, nodeRuntime);
  const bytes = async (completions: number): Promise<number> => {
    for (let i = 0; i < completions; i++) {
      const { signal } = new AbortController();
      await base.complete({ tokenIds: [5, 17, 3], maxTokens: 2, signal });
    }
    await new Promise((resolve) => setTimeout(resolve, 20)); // finalizers
    collect();
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const before = await bytes(20);
  const after = await bytes(150);
  await base.close();
  expect(after - before).toBeLessThan(150 * 2000); // one sequence's keys and values take more
});
