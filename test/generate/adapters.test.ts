import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { WeightedAdapter } from "../../src/generate/adapter-set.ts";
import { type LoadedBase, loadBase } from "../../src/generate/load.ts";
import { largest } from "../../src/generate/sample.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Runtime } from "../../src/runtime/session.ts";
import { caseFolder } from "../goldens/harness.ts";

const PROMPT = [5, 17, 3, 39, 22, 8, 31];

async function withBase<R>(name: string, use: (base: LoadedBase, opened: () => number) => Promise<R>): Promise<R> {
  let opened = 0;
  const counting: Runtime = {
    ...nodeRuntime,
    open: (outputs, options) => {
      opened++;
      return nodeRuntime.open(outputs, options);
    },
  };
  const base = await loadBase(`${caseFolder(name)}/model`, { threads: 2 }, counting);
  try {
    return await use(base, () => opened);
  } finally {
    await base.close();
  }
}

function furthest(a: Float32Array, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0);
}

async function expectCached(base: LoadedBase, adapters: readonly WeightedAdapter[]): Promise<readonly number[]> {
  const { tokenIds } = await base.complete({ tokenIds: PROMPT, maxTokens: 40, ignoreEnd: true, adapters });
  const all = [...PROMPT, ...tokenIds];
  const scores = await base.logits(all, adapters);
  const V = base.model.config.vocabularySize;
  const whole = tokenIds.map((_, i) => {
    const at = PROMPT.length + i - 1;
    return largest(scores.subarray(at * V, (at + 1) * V));
  });
  expect(tokenIds).toEqual(whole);
  return tokenIds;
}

const NAMES = [
  "llama-gqa-tied",
  "gpt2-c_attn",
  "gpt2-all-linear-rslora",
  "gpt2-bias-lora-only",
  "llama-dora",
  "llama-ia3",
  "llama-embedding-lora",
  "llama-modules-to-save",
  "llama-prompt-tuning",
  "llama-prefix-tuning",
  "gemma3",
  "mistral-window",
].filter((name) => existsSync(caseFolder(name)));

test.each(NAMES)(
  "%s: cached tokens with the trained adapter are those without a cache, at several weights",
  async (name) => {
    await withBase(name, async (base) => {
      const adapter = await base.adapter(`${caseFolder(name)}/trained`);
      for (const weight of [1, 0.5, 0]) await expectCached(base, [[adapter, weight]]);
    });
  },
);

test("an adapter of weight 0 is the base, bit for bit", async () => {
  await withBase("llama-gqa-tied", async (base) => {
    const adapter = await base.adapter(`${caseFolder("llama-gqa-tied")}/trained`);
    expect(await base.logits(PROMPT, [[adapter, 0]])).toEqual(await base.logits(PROMPT));
  });
});

test.each(
  [
    "llama-gqa-tied",
    "gpt2-all-linear-rslora",
    "llama-dora",
    "llama-ia3",
    "gpt2-bias-lora-only",
    "llama-modules-to-save",
  ].filter((name) => NAMES.includes(name)),
)("%s: two halves of an adapter are the whole", async (name) => {
  await withBase(name, async (base) => {
    const [one, other] = [
      await base.adapter(`${caseFolder(name)}/trained`),
      await base.adapter(`${caseFolder(name)}/trained`),
    ];
    const whole = await base.logits(PROMPT, [[one, 1]]);
    const plain = await base.logits(PROMPT);
    expect(furthest(whole, plain)).toBeGreaterThan(1e-4);
    if (name === "llama-ia3") return; // factors of two adapters multiply
    expect(
      furthest(
        await base.logits(PROMPT, [
          [one, 0.5],
          [other, 0.5],
        ]),
        whole,
      ),
    ).toBeLessThan(2e-5);
    expect(
      furthest(
        await base.logits(PROMPT, [
          [one, 0.25],
          [other, -0.25],
        ]),
        plain,
      ),
    ).toBeLessThan(2e-5);
  });
});

test("switching adapters and weights of one structure opens no session", async () => {
  await withBase("llama-gqa-tied", async (base, opened) => {
    const folder = caseFolder("llama-gqa-tied");
    const [trained, fresh] = [await base.adapter(`${folder}/trained`), await base.adapter(`${folder}/adapter`)];
    const run = (adapters: readonly WeightedAdapter[]) =>
      base.complete({ tokenIds: PROMPT, maxTokens: 3, ignoreEnd: true, adapters });
    await run([[trained, 1]]);
    const before = opened();
    await run([[fresh, 1]]);
    await run([[trained, 0.3]]);
    await run([[fresh, -2]]);
    expect(opened()).toBe(before);
  });
});

test("generations that run at once, with different adapters, give what each gives alone", async () => {
  await withBase("llama-gqa-tied", async (base) => {
    const folder = caseFolder("llama-gqa-tied");
    const [trained, fresh] = [await base.adapter(`${folder}/trained`), await base.adapter(`${folder}/adapter`)];
    const sets: WeightedAdapter[][] = [
      [],
      [[trained, 1]],
      [[fresh, 3]],
      [
        [trained, 2],
        [fresh, 1],
      ],
    ];
    const run = (adapters: WeightedAdapter[], i: number) =>
      base.complete({ tokenIds: PROMPT.slice(i), maxTokens: 20, ignoreEnd: true, adapters });
    const alone = [];
    for (const [i, set] of sets.entries()) alone.push((await run(set, i)).tokenIds);
    const together = await Promise.all(sets.map(run));
    expect(together.map(({ tokenIds }) => tokenIds)).toEqual(alone);
  });
});

test.each(NAMES)("%s: logits through the generator are those of the reference", async (name) => {
  const { openCase } = await import("../goldens/harness.ts");
  const { toFloat32 } = await import("../../src/tensor/convert.ts");
  const golden = openCase(name);
  await withBase(name, async (base) => {
    const adapter = await base.adapter(`${caseFolder(name)}/adapter`);
    const rows = readFileSync(`${golden.folder}/data.jsonl`, "utf8").trim().split("\n");
    const ids = (JSON.parse(rows[0]!) as { input_ids: number[] }).input_ids;
    const tensor = golden.expected.get("adapter.logits")!;
    const [, T = 0, V = 0] = tensor.shape;
    const longest = Math.max(
      ...rows
        .slice(0, golden.facts.batch_size)
        .map((row) => (JSON.parse(row) as { input_ids: number[] }).input_ids.length),
    );
    const skipped = T - longest;
    const wanted = toFloat32(tensor).subarray(skipped * V, (skipped + ids.length) * V);
    expect(furthest(await base.logits(ids, [[adapter, 1]]), wanted)).toBeLessThan(5e-5);
  });
});
