import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { adapterSets } from "../../src/generate/adapter-set.ts";
import type { CacheRow } from "../../src/generate/cache.ts";
import { createEngine, type Engine } from "../../src/generate/engine.ts";
import { largest } from "../../src/generate/sample.ts";
import { checkpointTask, openModel, traceChecked } from "../../src/models/open.ts";
import { knownModelTypes } from "../../src/models/registry.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";

const PROMPT = [5, 17, 3, 39, 22, 8, 31, 11, 30, 2, 9, 33, 28];

/** Cases whose rotary frequencies change with the length of the sequence: earlier keys keep theirs, as in transformers. */
const CHANGING = new Set(["rope-dynamic", "phi3-longrope-long", "phi3-longrope-short"]);

const cases = readdirSync(fileURLToPath(new URL("../goldens/cases", import.meta.url)))
  .map((name) => ({ name, model: openModel(`${caseFolder(name)}/model`) }))
  .filter(({ name, model }) => checkpointTask(model.rawConfig) === "causal-lm" && !CHANGING.has(name));

const tokens = (ids: readonly number[]): { ids: Int32Array; virtual: Int32Array } => ({
  ids: Int32Array.from(ids),
  virtual: new Int32Array(ids.length),
});

const NONE = adapterSets(openModel(`${caseFolder("llama-gqa-tied")}/model`))([]);

async function extend(engine: Engine, row: CacheRow, ids: readonly number[]): Promise<Float32Array> {
  const [scores] = await engine.step([{ row, tokens: tokens(ids), set: NONE }]);
  return scores!;
}

async function withEngine<R>(name: string, holdBytes: number, use: (engine: Engine) => Promise<R>): Promise<R> {
  const model = openModel(`${caseFolder(name)}/model`);
  const trace = traceChecked(model, "causal-lm");
  const engine = createEngine({ model, trace, runtime: nodeRuntime, session: { threads: 2 }, holdBytes });
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}

async function greedy(engine: Engine, count: number): Promise<number[]> {
  const row = engine.caches.open(NONE.group, 1);
  const all = [...PROMPT];
  let next = all;
  for (let i = 0; i < count; i++) {
    const token = largest(await extend(engine, row, next));
    all.push(token);
    next = [token];
  }
  return all;
}

test("there are cases of several families", () => {
  expect(cases.length).toBeGreaterThanOrEqual(Math.min(6, knownModelTypes().length));
});

test.each(cases)(
  "$name: 60 cached tokens across a cache border are those of the whole sequence without a cache",
  async ({ name, model }) => {
    const count = Math.min(60, (model.config.maxPositions ?? 1000) - PROMPT.length);
    await withEngine(name, 1e9, async (engine) => {
      const all = await greedy(engine, count);
      const scores = await engine.logits(tokens(all), NONE);
      const V = model.config.vocabularySize;
      const whole = all.slice(PROMPT.length).map((_, i) => {
        const at = PROMPT.length + i - 1;
        return largest(scores.subarray(at * V, (at + 1) * V));
      });
      expect(all.slice(PROMPT.length)).toEqual(whole);
    });
  },
);

test.each(cases)(
  "$name: a prompt read in parts, from copied or mapped weights, gives the same scores",
  async ({ name }) => {
    const read = (holdBytes: number, cuts: readonly number[]): Promise<Float32Array> =>
      withEngine(name, holdBytes, async (engine) => {
        const row = engine.caches.open(NONE.group, 1);
        let scores = new Float32Array();
        for (const [i, cut] of cuts.entries()) {
          const part = PROMPT.slice(cuts[i - 1] ?? 0, cut);
          scores = (await extend(engine, row, part)) as Float32Array<ArrayBuffer>;
        }
        return scores;
      });
    const whole = await read(1e9, [PROMPT.length]);
    for (const [holdBytes, cuts] of [
      [1e9, [4, 5, 13]],
      [0, [13]],
      [0, [1, 13]],
    ] as const) {
      const parts = await read(holdBytes, cuts);
      const worst = parts.reduce((max, value, i) => Math.max(max, Math.abs(value - whole[i]!)), 0);
      expect(worst).toBeLessThan(2e-5);
    }
  },
);

test("forgetting the end of a cache and going on gives the scores of the shorter sequence", async () => {
  const name = "llama-gqa-tied";
  await withEngine(name, 1e9, async (engine) => {
    const row = engine.caches.open(NONE.group, 1);
    await extend(engine, row, PROMPT);
    engine.caches.truncate(row, 5);
    const scores = await extend(engine, row, [7]);
    const wanted = await engine.logits(tokens([...PROMPT.slice(0, 5), 7]), NONE);
    const V = scores.length;
    scores.forEach((value, i) => {
      expect(Math.abs(value - wanted[5 * V + i]!)).toBeLessThan(2e-5);
    });
  });
});
