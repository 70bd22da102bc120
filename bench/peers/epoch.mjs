/**
 * What a precision of the base costs in quality: one epoch in each, beside PEFT in float32, and every adapter's held-out
 * loss on the float32 base and on the base that it was trained on.
 * usage: node bench/peers/epoch.mjs --python PYTHON --model DIR --data FILE --valid FILE --out FOLDER
 *   [--ways fp32,int8,nf4,int4,peft --seeds 0,1,2 --rows N --targets q_proj,v_proj --batch 8 --threads 1]
 * A seed shuffles the rows and draws A; within a seed every way meets the same rows in the same order. Results are kept in
 * FOLDER/results.jsonl, and a run that is there is not run again: start a second process with other ways beside the first.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { random, shuffled } from "./sotu-rows.mjs";

const { values } = parseArgs({
  options: {
    python: { type: "string", default: ".peers/bin/python" },
    model: { type: "string" },
    data: { type: "string" },
    valid: { type: "string" },
    out: { type: "string" },
    ways: { type: "string", default: "fp32,int8,nf4,int4,peft" },
    seeds: { type: "string", default: "0,1,2" },
    rows: { type: "string" },
    targets: { type: "string", default: "q_proj,v_proj" },
    batch: { type: "string", default: "8" },
    threads: { type: "string", default: "1" },
  },
});
const { python, model, data, valid, out, targets, batch, threads } = values;
const here = fileURLToPath(new URL(".", import.meta.url));
const results = join(out, "results.jsonl");
mkdirSync(out, { recursive: true });

function lowrank(...args) {
  const main = join(here, "../../dist/cli/main.js");
  const options = { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 };
  const lines = execFileSync(process.execPath, [main, ...args, "--threads", threads, "--json"], options)
    .trim()
    .split("\n");
  return JSON.parse(lines.at(-1));
}

const precisionOf = (way) =>
  way === "nf4" ? ["--precision", "int4", "--quant-type", "nf4"] : ["--precision", way === "peft" ? "fp32" : way];

/** The rows of a seed, in the order in which they are trained on. */
function rowsOf(seed) {
  const path = join(out, `rows-${seed}.jsonl`);
  const lines = shuffled(readFileSync(data, "utf8").trim().split("\n"), random(seed));
  writeFileSync(path, `${lines.slice(0, Number(values.rows ?? lines.length)).join("\n")}\n`);
  return path;
}

function train(way, seed, adapter) {
  const rows = rowsOf(seed);
  const count = readFileSync(rows, "utf8").trim().split("\n").length;
  const steps = String(Math.ceil(count / Number(batch)));
  if (way === "peft") {
    const args = [model, rows, targets, batch, steps, "fp32", threads, seed, adapter];
    execFileSync(python, [join(here, "peft_train.py"), ...args], { stdio: ["ignore", "ignore", "ignore"] });
    return;
  }
  const settings = ["--target-modules", targets, "--r", "8", "--alpha", "16", "--lr", "1e-3", "--weight-decay", "0.01"];
  const order = [
    "--scheduler",
    "constant",
    "--no-shuffle",
    "--seed",
    seed,
    "--batch-size",
    batch,
    "--max-steps",
    steps,
  ];
  lowrank("train", "--model", model, "--data", rows, "--out", adapter, ...precisionOf(way), ...settings, ...order);
}

function heldOut(adapter, way) {
  return lowrank("eval", "--model", model, "--adapter", adapter, "--data", valid, ...precisionOf(way)).loss;
}

const done = existsSync(results) ? readFileSync(results, "utf8").trim().split("\n").map(JSON.parse) : [];
for (const seed of values.seeds.split(",")) {
  for (const way of values.ways.split(",")) {
    if (done.some((each) => each.seed === seed && each.way === way)) continue;
    const adapter = join(out, `${way}-${seed}`);
    rmSync(adapter, { recursive: true, force: true }); // of a run that was broken off
    const begun = Date.now();
    train(way, seed, adapter);
    const seconds = (Date.now() - begun) / 1000;
    const onFloat = heldOut(adapter, "fp32");
    const asTrained = way === "fp32" || way === "peft" ? onFloat : heldOut(adapter, way);
    appendFileSync(results, `${JSON.stringify({ seed, way, asTrained, onFloat, seconds })}\n`);
  }
}
