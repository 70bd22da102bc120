/**
 * Decoding beside llama.cpp, in turns: a GGUF file there, the same numbers as a folder in four bits here.
 * usage: node bench/peers/llama.mjs --gguf FILE --model DIR [--package .peers/node_modules/node-llama-cpp --tokens 96 --rounds 2 --threads 2]
 * llama.cpp comes with `npm install --prefix .peers node-llama-cpp`.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    gguf: { type: "string" },
    model: { type: "string" },
    package: { type: "string", default: ".peers/node_modules/node-llama-cpp" },
    tokens: { type: "string", default: "96" },
    rounds: { type: "string", default: "2" },
    threads: { type: "string", default: "2" },
  },
});
const { gguf, model, tokens, rounds, threads } = values;
const PROMPT = "The harbour lay quiet when the ship came in, and nobody on the quay could say who";
const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const last = (args) =>
  JSON.parse(
    execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")
      .at(-1),
  );

console.log(
  "| round | llama.cpp, tokens/s (prompt of 512) | processor time a token | lowrank int4, tokens/s | ratio |",
);
console.log("|---|---|---|---|---|");
for (let round = 1; round <= Number(rounds); round++) {
  const theirs = last([path("llama_generate.mjs"), values.package, gguf, tokens, threads, PROMPT]);
  const flags = ["--precision", "int4", "--prompt", PROMPT, "--max-tokens", tokens, "--threads", threads, "--json"];
  const ours = last([path("../../dist/cli/main.js"), "bench", "generate", "--model", model, ...flags]).tokensPerSecond;
  const cells = [
    round,
    `${theirs.speed.toFixed(1)} (${theirs.promptSpeed.toFixed(0)})`,
    `${theirs.processorMs.toFixed(1)} ms`,
    `${ours.median.toFixed(1)} (${ours.least.toFixed(1)} to ${ours.most.toFixed(1)})`,
    (ours.median / theirs.speed).toFixed(2),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
