/**
 * Cuts the tasks of the embedded encoders from the State of the Union addresses
 * (in .cache/embedded/tasks, not committed): passages of a few sentences with
 * the time they are from (`era`) or who gave them (`president`). Test passages
 * come from addresses that neither pre-training nor training has seen.
 *
 *     node scripts/embedded/encoder-tasks.mjs
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { addresses, blocks, shuffle } from "./corpus.mjs";

/** A passage ends with the sentence that reaches this many characters. */
const PASSAGE_CHARACTERS = 260;
const LONGEST_CHARACTERS = 700;

const ERAS = [
  ["1790-1860", 1860],
  ["1861-1913", 1913],
  ["1914-1960", 1960],
  ["1961-2021", 2021],
];

const PRESIDENTS = {
  andrew_jackson: "Andrew Jackson",
  james_polk: "James K. Polk",
  grover_cleveland: "Grover Cleveland",
  theodore_roosevelt: "Theodore Roosevelt",
  calvin_coolidge: "Calvin Coolidge",
  dwight_d_eisenhower: "Dwight D. Eisenhower",
  william_j_clinton: "Bill Clinton",
  barack_obama: "Barack Obama",
};

/** The tasks: an address's label, null where it has none, and rows a label to train, to choose by and to test on. */
const TASKS = {
  era: { labelOf: ({ year }) => ERAS.find(([, last]) => year <= last)[0], train: 200, valid: 50, test: 100 },
  president: { labelOf: ({ speaker }) => PRESIDENTS[speaker] ?? null, train: 100, valid: 25, test: 50 },
};

/** Whose addresses make which part; each part's are other addresses. */
const PARTS = {
  train: (address) => !isHeldOut(address) && address.year % 6 !== 3,
  valid: ({ year }) => year % 6 === 3,
  test: isHeldOut,
};

/** Whether an address is kept for tests, and out of pre-training: every sixth year's. */
export function isHeldOut({ year }) {
  return year % 6 === 0;
}

/** As many passages of each label as `count` says, fewer where there are not so many. */
function rowsOf(given, labelOf, count, seed) {
  const byLabel = new Map();
  for (const address of given) {
    const label = labelOf(address);
    if (label === null) continue;
    const passages = blocks(address.sentences, " ", PASSAGE_CHARACTERS).filter(
      (text) => text.length <= LONGEST_CHARACTERS,
    );
    byLabel.set(label, [...(byLabel.get(label) ?? []), ...passages.map((text) => ({ text, label }))]);
  }
  return shuffle(
    [...byLabel.values()].flatMap((rows) => shuffle(rows, seed).slice(0, count)),
    seed,
  );
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const all = addresses();
  for (const [name, { labelOf, ...counts }] of Object.entries(TASKS)) {
    const folder = new URL(`../../.cache/embedded/tasks/${name}/`, import.meta.url);
    mkdirSync(folder, { recursive: true });
    for (const [part, isIn] of Object.entries(PARTS)) {
      const rows = rowsOf(all.filter(isIn), labelOf, counts[part], 5);
      writeFileSync(new URL(`${part}.jsonl`, folder), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
      console.log(`${name}/${part}: ${rows.length} passages, ${new Set(rows.map(({ label }) => label)).size} labels`);
    }
  }
}
