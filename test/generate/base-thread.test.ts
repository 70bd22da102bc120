/** The library's `load()`, which computes on a thread of its own: as built, for a worker is a file of its own. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { afterAll, beforeAll, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { type LoadedBase as HereBase, loadBase } from "../../src/generate/load.ts";
import type { LoadedBase } from "../../src/index.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomAdapter } from "./random-adapter.ts";

const DIST = new URL("../../dist/index.js", import.meta.url).href;
const { load, UsageError, ModelError } = (await import(DIST)) as typeof import("../../src/index.ts");
const MODEL = "embedded:gpt2-tiny";
const folder = mkdtempSync(join(tmpdir(), "lowrank-thread-"));
const path = join(folder, "mine");
const prompt = "a library for ";
let here: HereBase;
let there: LoadedBase;

beforeAll(async () => {
  here = await loadBase(MODEL, { threads: 1 }, nodeRuntime);
  savePeftFolder(path, randomAdapter(here.model, { r: 4, lora_alpha: 32, target_modules: ["c_attn"] }, 1));
  there = await load(MODEL, { threads: 1 });
});
afterAll(async () => {
  await Promise.all([here.close(), there.close()]);
  rmSync(folder, { recursive: true });
});

test("it writes, scores and adapts as a base on this thread does", async () => {
  const [own, other] = [await here.adapter(path), await there.adapter(path)];
  for (const weight of [0, 0.7]) {
    const request = { prompt, maxTokens: 12, ignoreEnd: true, logprobs: 2 };
    const wanted = await here.complete({ ...request, adapters: [[own, weight]] });
    const pieces: string[] = [];
    for await (const { text } of there.generate({ ...request, adapters: [[other, weight]] })) pieces.push(text);
    expect(pieces.join("")).toBe(wanted.text);
    expect(pieces.length).toBeGreaterThan(8);
    const found = await there.complete({ ...request, adapters: [[other, weight]] });
    expect(found).toMatchObject({ tokenIds: wanted.tokenIds, logprobs: wanted.logprobs, finishReason: "length" });
    const scores = await there.logits([5, 6, 7], [[other, weight]]);
    expect(scores).toEqual(await here.logits([5, 6, 7], [[own, weight]]));
  }
});

test("the caller's thread stays free, with timers that keep their time", async () => {
  const busy = async (base: { complete: HereBase["complete"] | LoadedBase["complete"] }): Promise<number> => {
    const before = performance.eventLoopUtilization();
    await Promise.all(
      [1, 2, 3, 4].map((seed) => base.complete({ prompt, maxTokens: 60, ignoreEnd: true, temperature: 1, seed })),
    );
    return performance.eventLoopUtilization(before).utilization;
  };
  expect(await busy(here)).toBeGreaterThan(0.8);
  let fired = 0;
  const timer = setInterval(() => fired++, 2);
  const began = performance.now();
  const share = await busy(there);
  clearInterval(timer);
  expect(share).toBeLessThan(0.5);
  expect(fired).toBeGreaterThan((performance.now() - began) / 20);
});

test("abort signals and leaving early end a generation; the base goes on", async () => {
  const controller = new AbortController();
  const pieces = there.generate({ prompt, maxTokens: 200, ignoreEnd: true, signal: controller.signal });
  await pieces.next();
  controller.abort();
  for (;;) {
    const { done, value } = await pieces.next();
    if (!done) continue;
    expect(value.finishReason).toBe("cancelled");
    expect(value.completionTokens).toBeLessThan(200);
    break;
  }
  for await (const _piece of there.generate({ prompt, maxTokens: 200, ignoreEnd: true })) break;
  const aborted = await there.complete({ prompt, signal: AbortSignal.abort() });
  expect(aborted).toMatchObject({ finishReason: "cancelled", completionTokens: 0 });
  expect((await there.complete({ prompt, maxTokens: 3 })).completionTokens).toBe(3);
  expect(there.load()).toMatchObject({ running: 0, waiting: 0 });
});

test("errors keep their class; a closed base says so", async () => {
  await expect(there.complete({ prompt, maxTokens: 0 })).rejects.toBeInstanceOf(UsageError);
  await expect(there.adapter(join(folder, "none"))).rejects.toBeInstanceOf(ModelError);
  await expect(load(join(folder, "no-model"))).rejects.toBeInstanceOf(ModelError);
  const second = await load(MODEL, { threads: 1 });
  const foreign = await second.adapter(path);
  await expect(there.complete({ prompt, adapters: [[foreign, 1]] })).rejects.toThrow("belongs to another base");
  const late = second.complete({ prompt, maxTokens: 200, ignoreEnd: true });
  const outcome = expect(late).rejects.toThrow("The base was closed.");
  await second.close();
  await outcome;
  await second.close();
  await expect(second.complete({ prompt })).rejects.toThrow("The base was closed.");
});

test("a program that forgets to close its base ends all the same", () => {
  const program = `import { load } from ${JSON.stringify(DIST)};
const base = await load("${MODEL}", { threads: 1 });
console.log((await base.complete({ prompt: "a", maxTokens: 2 })).completionTokens);`;
  const file = join(folder, "program.mjs");
  writeFileSync(file, program);
  const { stdout, status } = spawnSync(process.execPath, [file], { encoding: "utf8", timeout: 60_000 });
  expect({ stdout, status }).toEqual({ stdout: "2\n", status: 0 });
});

test("closing while an answer is under way waits for the thread's end, whenever the answer comes", () => {
  const file = join(folder, "closing.mjs");
  const source = [
    `import { load } from ${JSON.stringify(DIST)};`,
    `const base = await load(${JSON.stringify(MODEL)}, { threads: 1 });`,
    "const answer = base.logits([1, 2, 3]).catch(() => {});",
    "await base.close();",
    "await answer;",
    'console.log("closed");',
  ];
  writeFileSync(file, source.join("\n"));
  const { stdout, status } = spawnSync(process.execPath, [file], { encoding: "utf8", timeout: 60_000 });
  expect({ stdout, status }).toEqual({ stdout: "closed\n", status: 0 });
});
