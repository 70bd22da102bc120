import { afterAll, beforeAll, expect, test } from "vitest";
import { type AdapterSet, adapterSets } from "../../src/generate/adapter-set.ts";
import type { CacheRow } from "../../src/generate/cache.ts";
import { createEngine, type Engine, type Work } from "../../src/generate/engine.ts";
import { withVirtual } from "../../src/generate/generate.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";
import { randomAdapter } from "./random-adapter.ts";

const model = openModel(`${caseFolder("llama-gqa-tied")}/model`);
const V = model.config.vocabularySize;
const setOf = adapterSets(model);

const lora = (fields: Record<string, unknown>, seed: number) => randomAdapter(model, fields, seed);
const narrow = lora({ r: 2, lora_alpha: 4, target_modules: ["q_proj"] }, 1);
const wide = lora({ r: 7, lora_alpha: 16, target_modules: ["q_proj", "v_proj", "down_proj"] }, 2);
const uneven = lora(
  { r: 3, lora_alpha: 9, target_modules: "all-linear", rank_pattern: { up_proj: 5 }, use_rslora: true },
  3,
);
const dora = lora({ r: 4, lora_alpha: 8, use_dora: true, target_modules: ["v_proj"] }, 4);
const scaled = randomAdapter(model, { peft_type: "IA3" }, 5);
const prefix = randomAdapter(model, { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 }, 6);
const prompt = randomAdapter(model, { peft_type: "PROMPT_TUNING", num_virtual_tokens: 4 }, 7);
const head = lora({ r: 2, lora_alpha: 8, target_modules: ["lm_head", "o_proj"] }, 8);

/** One of each kind, in one batch. */
const SETS: readonly AdapterSet[] = [
  setOf([]),
  setOf([[narrow, 1]]),
  setOf([[wide, 1]]),
  setOf([[wide, -0.5]]),
  setOf([
    [narrow, 0.7],
    [uneven, 0.3],
  ]),
  setOf([[dora, 1]]),
  setOf([[dora, 0.25]]),
  setOf([
    [dora, 1],
    [wide, 2],
  ]),
  setOf([[scaled, 1]]),
  setOf([[prefix, 1]]),
  setOf([[prompt, 1]]),
  setOf([[head, 1]]),
];

let engine: Engine;
beforeAll(() => {
  const trace = traceChecked(model, "causal-lm");
  engine = createEngine({ model, trace, runtime: nodeRuntime, session: { threads: 2 }, holdBytes: 1e9 });
});
afterAll(() => engine.close());

const prompts = SETS.map((_, i) => Array.from({ length: 3 + ((5 * i) % 11) }, (_x, j) => (7 * i + 3 * j + 1) % V));

function furthest(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0);
}

/** Scores after every token of a sequence, by itself and without a cache. */
async function alone(ids: readonly number[], set: AdapterSet): Promise<Float32Array> {
  const { prompt: skipped } = set.virtual;
  return (await engine.logits(withVirtual(Int32Array.from(ids), skipped), set)).slice(skipped * V);
}

const last = (scores: Float32Array): Float32Array => scores.subarray(scores.length - V);

test("rows with different sets, lengths and methods in one batch have the scores that each has alone", async () => {
  const rows = SETS.map((set) => engine.caches.open(set.group, 1));
  const ids = prompts.map((each) => [...each]);
  const works = SETS.map((set, i): Work => {
    return { row: rows[i]!, tokens: withVirtual(Int32Array.from(ids[i]!), set.virtual.prompt), set };
  });
  let scores = await engine.step(works);
  for (let step = 0; step < 8; step++) {
    for (const [i, set] of SETS.entries()) {
      expect(furthest(scores[i]!, last(await alone(ids[i]!, set)))).toBeLessThan(1e-4);
    }
    ids.forEach((each, i) => {
      each.push((11 * i + 5 * step) % V);
    });
    scores = await engine.step(
      SETS.map((set, i): Work => ({ row: rows[i]!, tokens: withVirtual(Int32Array.of(ids[i]!.at(-1)!), 0), set })),
    );
  }
  for (const row of rows) engine.caches.close(row);
});

test("the sets change the scores, so that the comparison tells", async () => {
  const base = last(await alone(prompts[0]!, SETS[0]!));
  for (const set of SETS.slice(1)) expect(furthest(last(await alone(prompts[0]!, set)), base)).toBeGreaterThan(1e-3);
});

test("a weighted sum of adapters is the sum of their effects on a layer", async () => {
  const both = await alone(
    prompts[2]!,
    setOf([
      [narrow, 0.6],
      [narrow, 0.4],
    ]),
  );
  expect(furthest(both, await alone(prompts[2]!, setOf([[narrow, 1]])))).toBeLessThan(1e-5);
});

test("rows join, leave, fork and go back between steps, and keep their own scores", async () => {
  const sets = SETS.slice(0, 5);
  const open = new Map<CacheRow, { ids: number[]; set: AdapterSet }>();
  const feed = async (entries: [CacheRow, readonly number[]][]): Promise<void> => {
    const works = entries.map(([row, ids]): Work => {
      return { row, tokens: withVirtual(Int32Array.from(ids), 0), set: open.get(row)!.set };
    });
    const scores = await engine.step(works);
    for (const [i, [row, ids]] of entries.entries()) {
      const held = open.get(row)!;
      held.ids.push(...ids);
      expect(furthest(scores[i]!, last(await alone(held.ids, held.set)))).toBeLessThan(1e-4);
    }
  };
  const join = (i: number): CacheRow => {
    const row = engine.caches.open(sets[i % sets.length]!.group, 1);
    open.set(row, { ids: [], set: sets[i % sets.length]! });
    return row;
  };
  const [a, b, c] = [join(0), join(1), join(2)];
  await feed([
    [a, [1, 2, 3]],
    [b, [4]],
    [c, Array.from({ length: 70 }, (_, i) => i % V)],
  ]);
  const d = join(3);
  await feed([
    [a, [5]],
    [d, [6, 7]],
    [c, [8]],
  ]);
  engine.caches.close(b);
  open.delete(b);
  const e = engine.caches.fork(d);
  open.set(e, { ids: [...open.get(d)!.ids], set: open.get(d)!.set });
  await feed([
    [a, [9, 10, 11]],
    [d, [12]],
    [e, [13]],
  ]);
  engine.caches.truncate(c, 50);
  open.get(c)!.ids.length = 50;
  engine.caches.close(a);
  open.delete(a);
  await feed([
    [c, [14]],
    [d, [15]],
    [e, Array.from({ length: 66 }, (_, i) => (3 * i) % V)],
  ]);
  await feed([
    [c, [1]],
    [d, [2]],
    [e, [3]],
  ]);
  for (const row of open.keys()) engine.caches.close(row);
  expect(engine.caches.bytes).toBe(0);
});

test("an adapter that makes its own row infinite leaves the others as they are", async () => {
  const tensors = [...wide.tensors].map(([key, tensor]) => {
    const data = key.includes("lora_A") ? tensor.data.map(() => 3e38) : tensor.data;
    return [key, { ...tensor, data }] as const;
  });
  const mad = setOf([[{ ...wide, tensors: new Map(tensors) }, 1]]);
  const rows = [mad, SETS[1]!].map((set) => engine.caches.open(set.group, 1));
  const works = [mad, SETS[1]!].map((set, i): Work => {
    return { row: rows[i]!, tokens: withVirtual(Int32Array.from(prompts[1]!), 0), set };
  });
  const [, scores] = await engine.step(works);
  expect(furthest(scores!, last(await alone(prompts[1]!, SETS[1]!)))).toBeLessThan(1e-4);
  for (const row of rows) engine.caches.close(row);
});
