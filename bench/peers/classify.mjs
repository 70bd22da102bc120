/**
 * A real classification task: LoRA on a sentence encoder, ours beside PyTorch + PEFT, from one start on the same rows.
 *
 * usage: node bench/peers/classify.mjs MODEL PYTHON [SEEDS] [STEPS]
 *
 * Rows are those of sotu-rows.mjs: the party or time of a sentence. PEFT makes the starting adapter (with its new classifier), both go on from it in the same order, dropout off. Prints the largest
 * relative difference of the losses, and test accuracies of base + adapter: PEFT's, ours, and ours on an int8 base.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { random } from "./rows.mjs";
import { rowsOf } from "./sotu-rows.mjs";

const [, , model, python, seeds = "1", steps = "300"] = process.argv;
const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const peer = fileURLToPath(new URL("peft_classify.py", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "lowrank-classify-"));
const BATCH = 16;

function jsonLines(text) {
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

function lowrank(...args) {
  return jsonLines(execFileSync(process.execPath, [cli, ...args, "--json"], { encoding: "utf8", maxBuffer: 2 ** 28 }));
}

for (let seed = 1; seed <= Number(seeds); seed++) {
  const folder = join(work, String(seed));
  mkdirSync(folder);
  const { train, test } = rowsOf(random(seed));
  const write = (name, rows) => {
    const path = join(folder, name);
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    return path;
  };
  const [data, held] = [write("train.jsonl", train), write("test.jsonl", test)];
  const settings = [model, data, held, folder, String(seed), String(BATCH), steps];
  const theirs = JSON.parse(
    execFileSync(python, [peer, ...settings], { encoding: "utf8" })
      .trim()
      .split("\n")
      .at(-1),
  );
  const init = join(folder, "init");
  const out = join(folder, "ours");
  const common = ["--batch-size", String(BATCH), "--max-steps", steps, "--lr", "1e-3", "--scheduler", "linear"];
  const given = ["--model", model, "--init-adapter", init, "--data", data, "--task", "sequence-classification"];
  const events = lowrank("train", ...given, "--out", out, ...common, "--max-length", "128", "--no-shuffle");
  const losses = events.filter(({ event }) => event === "step").map(({ loss }) => loss);
  const difference = Math.max(...losses.map((loss, i) => Math.abs(loss / theirs.losses[i] - 1)));
  const accuracy = (precision, adapter) => {
    const options = ["--model", model, "--adapter", adapter, "--data", held, "--max-length", "128"];
    return lowrank("eval", ...options, "--task", "sequence-classification", "--precision", precision)[0].accuracy;
  };
  const int8 = join(folder, "int8");
  lowrank("train", ...given, "--out", int8, ...common, "--max-length", "128", "--no-shuffle", "--precision", "int8");
  const result = {
    seed,
    steps: losses.length,
    first: losses[0],
    last: losses.slice(-20).reduce((a, b) => a + b) / 20,
    largestLossDifference: difference,
    at10: Math.abs(losses[9] / theirs.losses[9] - 1),
    accuracy: {
      peft: theirs.accuracy,
      ours: accuracy("fp32", out),
      evaluatedInInt8: accuracy("int8", out),
      trainedInInt8: accuracy("int8", int8),
    },
    peftAdapterHere: accuracy("fp32", join(folder, "theirs")),
  };
  console.log(JSON.stringify(result));
}
