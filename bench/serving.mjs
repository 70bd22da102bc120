/**
 * Generation with adapters, in turns, on one model: what stacked adapters cost beside the base, what fusing saves, what a
 * switch and a cold load take, and whether many adapters are slower than one. Ratios of medians; absolute numbers are the
 * machine's of the hour.
 *
 *   node bench/serving.mjs --model DIR [--adapters 1000] [--rounds 5] [--tokens 24] [--threads 2]
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createAdapter } from "../dist/adapters/adapter.js";
import { parseAdapterConfig } from "../dist/adapters/bind.js";
import { savePeftFolder } from "../dist/adapters/peft-folder.js";
import { loadBase } from "../dist/generate/load.js";
import { createRankStack, rankedAdapter } from "../dist/generate/rank-stack.js";
import { traceChecked } from "../dist/models/open.js";
import { nodeRuntime } from "../dist/runtime/node.js";
import { randomStream } from "../dist/tensor/random.js";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "embedded:gpt2-tiny" },
    adapters: { type: "string", default: "1000" },
    rounds: { type: "string", default: "5" },
    tokens: { type: "string", default: "24" },
    threads: { type: "string", default: "2" },
  },
});
const [COUNT, ROUNDS, TOKENS, threads] = [values.adapters, values.rounds, values.tokens, values.threads].map(Number);
const PROMPT = "The history of the city begins in the middle ages, when";
const ROWS = 8;

const root = mkdtempSync(join(tmpdir(), "bench-"));
const base = await loadBase(values.model, { threads, prefixBytes: 0 }, nodeRuntime);
const trace = traceChecked(base.model, "causal-lm");
const random = randomStream(1);
const config = parseAdapterConfig({ peft_type: "LORA", r: 8, lora_alpha: 16 }, "bench");

/** An adapter of random values. */
function adapter(seed) {
  const made = createAdapter(config, base.model, trace, seed);
  for (const { data } of made.tensors.values())
    for (let i = 0; i < data.length; i += 7) data[i] += 0.01 * (random.uniform() - 0.5);
  return made;
}
const eight = Array.from({ length: ROWS }, (_, i) => adapter(i));

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const complete = (from, adapters, tokens = TOKENS) =>
  from.complete({ prompt: PROMPT, maxTokens: tokens, ignoreEnd: true, adapters });

/** Tokens a second of completions that run together. */
async function speed(from, sets, tokens = TOKENS) {
  const begun = performance.now();
  await Promise.all(sets.map((set) => complete(from, set, tokens)));
  return (sets.length * tokens * 1000) / (performance.now() - begun);
}

/** The mean of the rounds' ratios (geometric), between the ends of its 95 % confidence interval. */
function interval(ratios) {
  const logs = ratios.map(Math.log);
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const variance = logs.reduce((sum, each) => sum + (each - mean) ** 2, 0) / Math.max(1, logs.length - 1);
  const half = 2.09 * Math.sqrt(variance / logs.length); // Student's t of 20 rounds
  return [mean - half, mean, mean + half].map((each) => Number(Math.exp(each).toFixed(3)));
}

/** Medians of several ways, taken in turns, and each round's ratio to the first: its quartiles, and its mean's interval. */
async function inTurns(ways) {
  const names = Object.keys(ways);
  for (const name of names) await ways[name]();
  const taken = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) for (const name of names) taken[name].push(await ways[name]());
  const [first] = names;
  return Object.fromEntries(
    names.map((name) => {
      const ratios = taken[name].map((value, i) => value / taken[first][i]).toSorted((a, b) => a - b);
      const at = (share) => Number(ratios[Math.floor(share * (ratios.length - 1))].toFixed(3));
      const tokensPerSecond = Number(median(taken[name]).toFixed(1));
      return [name, { tokensPerSecond, ratio: [at(0.25), at(0.5), at(0.75)], interval: interval(ratios) }];
    }),
  );
}

savePeftFolder(join(root, "one"), eight[0]);
const print = (what, result) => console.log(JSON.stringify({ what, ...result }));

print("one row", await inTurns({ base: () => speed(base, [[]]), adapter: () => speed(base, [[[eight[0], 1]]]) }));
print(
  "eight rows",
  await inTurns({
    base: () =>
      speed(
        base,
        Array.from({ length: ROWS }, () => []),
      ),
    oneAdapter: () =>
      speed(
        base,
        Array.from({ length: ROWS }, () => [[eight[0], 1]]),
      ),
    eightAdapters: () =>
      speed(
        base,
        eight.map((each) => [[each, 1]]),
      ),
  }),
);

const fused = await loadBase(
  values.model,
  { threads, prefixBytes: 0, mode: "fuse", adapters: [[join(root, "one"), 1]] },
  nodeRuntime,
);
print("fused", await inTurns({ base: () => speed(base, [[]]), fused: () => speed(fused, [[]]) }));
await fused.close();

// A switch: the other adapter's place in the stack, alone and among eight; a weight is a factor of the next run.
const ranked = eight.map(rankedAdapter);
const other = rankedAdapter(adapter(ROWS));
const stack = createRankStack();
const sizes = ranked[0].sizes;
const time = (work) => {
  const begun = performance.now();
  work();
  return performance.now() - begun;
};
const switches = { alone: [], amongEight: [] };
for (let i = 0; i < 40; i++) switches.alone.push(time(() => stack.arrange([i % 2 ? other : ranked[0]], sizes, null)));
for (let i = 0; i < 40; i++)
  switches.amongEight.push(
    time(() => stack.arrange([...ranked.slice(0, -1), i % 2 ? other : ranked.at(-1)], sizes, null)),
  );
print("switch, ms", { alone: median(switches.alone), amongEight: median(switches.amongEight) });

const loads = [];
for (let i = 0; i < 9; i++) {
  savePeftFolder(join(root, `cold${i}`), adapter(100 + i));
  const begun = performance.now();
  const cold = await base.adapter(join(root, `cold${i}`));
  await complete(base, [[cold, 1]], 1).then(({ firstTokenMs }) => loads.push(performance.now() - begun - firstTokenMs));
}
const bytes = [...eight[0].tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
print("cold load, ms", { bytes, median: median(loads), worst: Math.max(...loads) });

// Many names over 64 folders, 64 of them in memory, each miss read from its file: requests by Zipf's law or all alike, beside one adapter for all.
const folders = Array.from({ length: Math.min(COUNT, 64) }, (_, i) => join(root, `many${i}`));
for (const [i, folder] of folders.entries()) savePeftFolder(folder, i < ROWS ? eight[i] : adapter(200 + i));
const held = new Map();
async function named(number) {
  const found = held.get(number);
  held.delete(number);
  if (!found && held.size >= 64) held.delete(held.keys().next().value);
  const opened = found ?? (await base.adapter(folders[number % folders.length]));
  held.set(number, opened);
  return opened;
}
const weights = Array.from({ length: COUNT }, (_, i) => 1 / (i + 1));
const total = weights.reduce((a, b) => a + b, 0);
function zipf() {
  let rest = random.uniform() * total;
  for (let i = 0; i < COUNT; i++) {
    rest -= weights[i];
    if (rest < 0) return i;
  }
  return COUNT - 1;
}
async function stream(choose) {
  const requests = 3 * ROWS;
  let next = 0;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: ROWS }, async () => {
      while (next++ < requests) await complete(base, [[await named(choose()), 1]]);
    }),
  );
  return (requests * TOKENS * 1000) / (performance.now() - begun);
}
print(
  `${COUNT} adapters, 64 in memory`,
  await inTurns({
    one: () => stream(() => 0),
    zipf: () => stream(zipf),
    uniform: () => stream(() => random.integer(COUNT)),
  }),
);
await base.close();
rmSync(root, { recursive: true });
