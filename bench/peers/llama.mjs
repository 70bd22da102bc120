/**
 * Decoding, and reading prompts of about 512 tokens, beside llama.cpp, in turns: a GGUF file there, the same numbers as a
 * folder in four bits here.
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
/** About 512 tokens. */
const LONG_PROMPT = Array.from({ length: 27 }, () => PROMPT).join(". ");
const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const last = (args) =>
  JSON.parse(
    execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")
      .at(-1),
  );

/** `lowrank bench generate` of the folder in four bits. */
const ours = (prompt, count) =>
  last([
    path("../../dist/cli/main.js"),
    ...["bench", "generate", "--model", model, "--precision", "int4", "--threads", threads, "--json"],
    ...["--prompt", prompt, "--max-tokens", count],
  ]);

console.log(
  "| round | llama.cpp, tokens/s | lowrank int4, tokens/s | ratio | llama.cpp, prompt | lowrank, prompt | ratio |",
);
console.log("|---|---|---|---|---|---|---|");
for (let round = 1; round <= Number(rounds); round++) {
  const theirs = last([path("llama_generate.mjs"), values.package, gguf, tokens, threads, PROMPT]);
  const { median, least, most } = ours(PROMPT, tokens).tokensPerSecond;
  const { promptTokens, firstTokenMs } = ours(LONG_PROMPT, "2");
  const promptSpeed = (promptTokens * 1000) / firstTokenMs.median;
  const cells = [
    round,
    `${theirs.speed.toFixed(1)} (${theirs.processorMs.toFixed(1)} ms of processor time each)`,
    `${median.toFixed(1)} (${least.toFixed(1)} to ${most.toFixed(1)})`,
    (median / theirs.speed).toFixed(2),
    theirs.promptSpeed.toFixed(0),
    `${promptSpeed.toFixed(0)} (${promptTokens} tokens)`,
    (promptSpeed / theirs.promptSpeed).toFixed(2),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
