/**
 * What a precision of the base costs in quality: one epoch in each, beside PEFT in float32, and every adapter's held-out
 * loss on the float32 base and on the base that it was trained on.
 * usage: node bench/peers/epoch.mjs --python PYTHON --model DIR --data FILE --valid FILE --out FOLDER
 *   [--ways fp32,int8,nf4,int4,peft --seeds 0,1,2 --rows N --targets q_proj,v_proj --batch 8 --threads 1]
 * A seed shuffles the rows and draws A; within a seed every way meets the same rows in the same order. Results are kept in
 * FOLDER/results.jsonl, and a run that is there is not run again: start a second process with other ways beside the first.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { LOWRANK, trainArguments } from "./ours.mjs";
import { shuffleFile } from "./rows.mjs";

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

/** A command of ours; its last event. */
function lowrank(args) {
  const options = { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 };
  const lines = execFileSync(process.execPath, [LOWRANK, ...args], options)
    .trim()
    .split("\n");
  return JSON.parse(lines.at(-1));
}

const precisionOf = (way) =>
  way === "nf4" ? ["--precision", "int4", "--quant-type", "nf4"] : ["--precision", way === "peft" ? "fp32" : way];

function train(way, seed, adapter) {
  const rows = `${adapter}.jsonl`;
  // The seed as the text it came as: so were the rows of docs/evidence.md drawn.
  const count = shuffleFile(data, rows, seed, values.rows && Number(values.rows));
  const steps = String(Math.ceil(count / Number(batch)));
  if (way === "peft") {
    const args = [model, rows, targets, batch, steps, "fp32", threads, seed, adapter];
    execFileSync(python, [join(here, "peft_train.py"), ...args], { stdio: "ignore" });
    return;
  }
  const args = trainArguments({ model, data: rows, targets, batch, steps, threads, out: adapter });
  lowrank([...args, "--seed", seed, ...precisionOf(way)]);
}

function heldOut(adapter, way) {
  const args = ["eval", "--model", model, "--adapter", adapter, "--data", valid, "--threads", threads, "--json"];
  return lowrank([...args, ...precisionOf(way)]).loss;
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
