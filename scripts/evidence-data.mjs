/**
 * Rows of the experiments in docs/evidence.md, in .cache/evidence (not committed), the same bytes each time:
 *   node scripts/evidence-data.mjs [DART_FOLDER]
 * `genesis`, `flags`, `restaurants`: the held-out rows of examples/quickstart, a third to choose by and the rest to test on.
 * `party`: bench/peers/sotu-rows.mjs, 480 sentences to train on, 150 to choose by, 300 to test on.
 * `dart`: of DART_FOLDER/{train,valid,test}.jsonl (as scripts/nlg-data.mjs writes them), one text each of 480 records to
 * train on and of 48 to measure the loss, and every text of 60 records to complete.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { random, shuffled } from "../bench/peers/rows.mjs";
import { rowsOf } from "../bench/peers/sotu-rows.mjs";

function write(task, parts) {
  const folder = join(".cache/evidence", task);
  mkdirSync(folder, { recursive: true });
  for (const [part, rows] of Object.entries(parts)) {
    writeFileSync(join(folder, `${part}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    console.log(`${task}/${part}: ${rows.length} rows`);
  }
}

function read(path) {
  return readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

for (const task of ["genesis", "flags", "restaurants"]) {
  const held = read(`examples/quickstart/${task}/valid.jsonl`);
  const third = Math.floor(held.length / 3);
  write(task, { valid: held.slice(0, third), test: held.slice(third) });
}

const { train, test } = rowsOf(random(1));
const held = shuffled(test, random(2));
write("party", { train: train.slice(0, 480), valid: held.slice(0, 150), test: held.slice(150, 450) });

const [from] = process.argv.slice(2);
if (from) {
  /** Records in another order: lists of rows with one prompt. */
  const records = (part, seed) => {
    const byPrompt = new Map();
    for (const row of read(join(from, `${part}.jsonl`)))
      byPrompt.set(row.prompt, [...(byPrompt.get(row.prompt) ?? []), row]);
    return shuffled([...byPrompt.values()], random(seed));
  };
  const firsts = (some, count) => some.slice(0, count).map(([row]) => row);
  write("dart", {
    train: firsts(records("train", 3), 480),
    valid: firsts(records("valid", 4), 48),
    test: records("test", 5).slice(0, 60).flat(),
  });
}
