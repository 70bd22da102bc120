/**
 * Greedy generation beside transformers, in turns.
 * usage: node bench/peers/generate.mjs --python PYTHON --model DIR [--tokens 64 --repeats 3 --rounds 3 --threads 2 --title TEXT --markdown FILE]
 */
import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    python: { type: "string", default: ".peers/bin/python" },
    model: { type: "string" },
    tokens: { type: "string", default: "64" },
    repeats: { type: "string", default: "3" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    prompt: {
      type: "string",
      default: "The harbour lay quiet when the ship came in, and nobody on the quay could say who",
    },
    title: { type: "string" },
    markdown: { type: "string" },
  },
});
const { python, model, tokens, repeats, rounds, threads, prompt } = values;
const here = fileURLToPath(new URL(".", import.meta.url));
const last = (command, args) =>
  JSON.parse(
    execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")
      .at(-1),
  );
const middle = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

function peer(precision) {
  const found = last(python, [join(here, "hf_generate.py"), model, tokens, repeats, precision, threads, prompt]);
  return { ...found, firstTokenMs: middle(found.firstTokenMs), tokensPerSecond: middle(found.tokensPerSecond) };
}

function ours() {
  const args = [
    "bench",
    "generate",
    "--model",
    model,
    "--max-tokens",
    tokens,
    "--repeats",
    repeats,
    "--threads",
    threads,
  ];
  const found = last(process.execPath, [join(here, "../../dist/cli/main.js"), ...args, "--prompt", prompt, "--json"]);
  const { firstTokenMs, tokensPerSecond, peakMemoryBytes: peakBytes } = found;
  return { firstTokenMs: firstTokenMs.median, tokensPerSecond: tokensPerSecond.median, peakBytes };
}

const runs = { "transformers fp32": () => peer("fp32"), "transformers bf16": () => peer("bf16"), lowrank: ours };
const results = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, run] of Object.entries(runs)) results[name].push(run());
}
const column = (name, key) => results[name].map((each) => each[key]);
const lines = [
  `${cpus()[0].model}, ${threads} threads, ${rounds} rounds in turns, ${tokens} tokens`,
  "",
  "| | tokens/s (spread) | beside transformers fp32 | first token | peak memory |",
  "|---|---|---|---|---|",
  ...Object.keys(runs).map((name) => {
    const speed = column(name, "tokensPerSecond");
    const ratio = (middle(speed) / middle(column("transformers fp32", "tokensPerSecond"))).toFixed(2);
    const spread = `${Math.min(...speed).toFixed(1)} to ${Math.max(...speed).toFixed(1)}`;
    const first = middle(column(name, "firstTokenMs")).toFixed(0);
    return `| ${name} | ${middle(speed).toFixed(1)} (${spread}) | ${ratio} | ${first} ms | ${(middle(column(name, "peakBytes")) / 1e9).toFixed(2)} GB |`;
  }),
];
console.log(lines.join("\n"));
if (values.markdown !== undefined)
  appendFileSync(values.markdown, `\n## ${values.title ?? model}\n\n${lines.join("\n")}\n`);
