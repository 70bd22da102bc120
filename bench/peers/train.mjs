/**
 * LoRA training beside PyTorch + PEFT, in turns in one run, so that a machine's moods meet both alike.
 * usage: node bench/peers/train.mjs --python PYTHON --model DIR --data FILE [--targets c_attn --batch 4 --steps 8 --rounds 3
 *   --threads 2 --shuffle --compiled --title TEXT --markdown FILE]
 * Prints medians with their spread, and the ratios of medians to PEFT's, as a table of docs/benchmarks.md; --markdown adds it to a
 * file. --shuffle mixes the rows once, the same for all, as training does: rows that lie beside each other in a file are often
 * alike, and pad one another little. --compiled runs PyTorch under torch.compile too (it needs a C++ compiler).
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { LOWRANK, trainArguments } from "./ours.mjs";
import { shuffleFile } from "./rows.mjs";

const { values } = parseArgs({
  options: {
    python: { type: "string", default: ".peers/bin/python" },
    model: { type: "string" },
    data: { type: "string" },
    targets: { type: "string", default: "c_attn" },
    batch: { type: "string", default: "4" },
    steps: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    shuffle: { type: "boolean", default: false },
    compiled: { type: "boolean", default: false },
    title: { type: "string" },
    markdown: { type: "string" },
  },
});
const { python, model, targets, batch, steps, rounds, threads } = values;
const here = fileURLToPath(new URL(".", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
const data = values.shuffle ? join(scratch, "rows.jsonl") : values.data;
if (values.shuffle) shuffleFile(values.data, data, 0);

/** A process that prints an event a line: the events, and the seconds from its start to the end of its first step. */
async function events(command, args) {
  const begun = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(child, "close");
  const all = [];
  let firstStepSeconds;
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith("{")) continue;
    const event = JSON.parse(line);
    if (event.event === "step") firstStepSeconds ??= (performance.now() - begun) / 1000;
    all.push(event);
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}`);
  return { all, firstStepSeconds };
}

/** One run of the peer. */
async function peft(precision) {
  const args = [join(here, "peft_train.py"), model, data, targets, batch, steps, precision, threads];
  const { all, firstStepSeconds } = await events(python, args);
  const { tokensPerSecond, peakBytes } = all.at(-1);
  return { tokensPerSecond, firstStepSeconds, peakBytes };
}

/** One run of ours, as a user starts it. */
async function ours(...flags) {
  const out = join(scratch, "out");
  rmSync(out, { recursive: true, force: true });
  const args = trainArguments({ model, data, targets, batch, steps, threads, out });
  const { all, firstStepSeconds } = await events(process.execPath, [LOWRANK, ...args, ...flags]);
  const { tokensPerSecond, peakMemoryBytes } = all.at(-1);
  return { tokensPerSecond, firstStepSeconds, peakBytes: peakMemoryBytes };
}

const runs = {
  "PEFT fp32": () => peft("fp32"),
  "PEFT bf16": () => peft("bf16"),
  ...(values.compiled
    ? { "PEFT fp32, compiled": () => peft("fp32-compiled"), "PEFT bf16, compiled": () => peft("bf16-compiled") }
    : {}),
  "lowrank fp32": () => ours(),
  "lowrank fp32, prepack": () => ours("--prepack", "on"),
  "lowrank int8": () => ours("--precision", "int8"),
  "lowrank int8, recompute": () => ours("--precision", "int8", "--recompute", "full"),
};
await ours("--precision", "int8"); // makes the quantised copy, which later runs map
const results = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, run] of Object.entries(runs)) results[name].push(await run());
}
rmSync(scratch, { recursive: true, force: true });

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const column = (name, key) => results[name].map((each) => each[key]);
const lines = [
  `${cpus()[0].model}, ${threads} threads, ${rounds} rounds in turns, ${steps} steps of ${batch} rows${values.shuffle ? ", shuffled" : ""}`,
  "",
  "| | tokens/s (spread) | beside PEFT fp32 / bf16 | first step after | peak memory | beside PEFT fp32 |",
  "|---|---|---|---|---|---|",
];
for (const name of Object.keys(runs)) {
  const speed = column(name, "tokensPerSecond");
  const ratio = (other) => (median(speed) / median(column(other, "tokensPerSecond"))).toFixed(2);
  const peak = median(column(name, "peakBytes"));
  const spread = `${Math.min(...speed).toFixed(0)} to ${Math.max(...speed).toFixed(0)}`;
  const memory = (peak / median(column("PEFT fp32", "peakBytes"))).toFixed(2);
  lines.push(
    `| ${name} | ${median(speed).toFixed(0)} (${spread}) | ${ratio("PEFT fp32")} / ${ratio("PEFT bf16")} | ${median(column(name, "firstStepSeconds")).toFixed(1)} s | ${(peak / 1e9).toFixed(2)} GB | ${memory} |`,
  );
}
console.log(lines.join("\n"));
if (values.markdown !== undefined)
  appendFileSync(values.markdown, `\n## ${values.title ?? model}\n\n${lines.join("\n")}\n`);
