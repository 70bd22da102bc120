/**
 * One greedy completion by llama.cpp, and the reading of a long prompt; `llama.mjs` runs it in turns with ours.
 * usage: node bench/peers/llama_generate.mjs PACKAGE GGUF TOKENS THREADS PROMPT     PACKAGE: the folder of node-llama-cpp
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, gguf, tokens, threads, prompt] = process.argv.slice(2);
const LONG = 512;
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(join(folder, "dist/index.js")));
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 });
const context = await model.createContext({ contextSize: 1024, batchSize: LONG, threads: Number(threads) });
const sequence = context.getSequence();

/** The first run warms up. */
let speed = 0;
let processorMs = 0;
for (let run = 0; run < 2; run++) {
  await sequence.clearHistory();
  const stamps = [];
  let used = process.cpuUsage();
  for await (const _ of sequence.evaluate(model.tokenize(prompt), { temperature: 0, yieldEogToken: true })) {
    if (stamps.length === 0) used = process.cpuUsage();
    stamps.push(performance.now());
    if (stamps.length >= Number(tokens)) break;
  }
  const { user, system } = process.cpuUsage(used);
  speed = ((stamps.length - 1) * 1000) / (stamps.at(-1) - stamps[0]);
  processorMs = (user + system) / 1000 / (stamps.length - 1);
}
await sequence.clearHistory();
const begun = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(Array.from({ length: LONG }, (_, i) => (7 * i * i + 3) % 40_000));
const promptSpeed = (LONG * 1000) / (performance.now() - begun);
console.log(JSON.stringify({ speed, processorMs, promptSpeed }));
process.exit(0);
