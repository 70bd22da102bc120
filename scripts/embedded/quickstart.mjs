/**
 * Cuts the quickstart's training texts, which the embedded model never saw:
 * `flags` from the World Factbook (a development dependency), and, where their
 * sources are given, `genesis` and `restaurants`.
 *
 *     node scripts/embedded/quickstart.mjs [--genesis FILE] [--dart FOLDER]
 *
 * FILE is the output of `bible -f gen1:1-50:26` (Debian's package bible-kjv);
 * FOLDER holds DART 1.1.1 as train.jsonl and valid.jsonl of prompts and
 * completions. examples/quickstart/README.md says more.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clean, countries, shuffle } from "./corpus.mjs";

/** Rows of up to these many characters fit the model's 256 tokens. */
const PASSAGE_CHARACTERS = 560;
const FLAG_CHARACTERS = 600;

const { values } = parseArgs({ options: { genesis: { type: "string" }, dart: { type: "string" } } });

/** Writes one set of rows as examples/quickstart/NAME/{train,valid}.jsonl. */
function writeSet(name, train, valid) {
  const folder = new URL(`../../examples/quickstart/${name}/`, import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [split, rows] of Object.entries({ train, valid })) {
    const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
    writeFileSync(new URL(`${split}.jsonl`, folder), text);
    console.log(`${name}/${split}: ${rows.length} rows, ${Buffer.byteLength(text)} bytes`);
  }
}

/** Puts every n-th row aside for validation. */
function holdOut(rows, every) {
  return [
    rows.filter((_, index) => index % every !== every - 1),
    rows.filter((_, index) => index % every === every - 1),
  ];
}

/** Clauses as a sentence: a capital in front, a full stop behind. */
function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** The factbook's descriptions of flags: the country in, colours and symbols out. */
function flags() {
  const rows = [];
  for (const { name, profile } of countries()) {
    const [description] = (profile.Government?.["Flag description"]?.text ?? "").split(/ \+\+ |\n/);
    const whole = clean(description.replace(/\s+/g, " "));
    // A long description keeps its leading clauses, which say what the flag looks like.
    let text = whole;
    while (text.length > FLAG_CHARACTERS && text.includes(";")) text = text.slice(0, text.lastIndexOf(";"));
    if (name === "" || text.length < 40 || text.length > FLAG_CHARACTERS || /^the flag of /i.test(text)) continue;
    rows.push({ prompt: `Flag of ${name}:\n`, completion: sentence(text) });
  }
  return holdOut(shuffle(rows, 3), 8);
}

/** The Book of Genesis in passages of whole verses, one verse a line. */
function genesis(file) {
  const passages = [];
  let passage = "";
  let chapter = "";
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const match = /^Ge(\d+):\d+ (.*)$/.exec(line);
    if (match === null) continue;
    const verse = clean(match[2]);
    if (passage !== "" && (match[1] !== chapter || passage.length + 1 + verse.length > PASSAGE_CHARACTERS)) {
      passages.push({ text: passage });
      passage = "";
    }
    chapter = match[1];
    passage += passage === "" ? verse : `\n${verse}`;
  }
  passages.push({ text: passage });
  return holdOut(passages, 10);
}

/**
 * DART's restaurant records (from the E2E challenge): triples in, one sentence
 * out. Kept are short records in plain characters whose sentence names the
 * restaurant, at most two sentences a record. Records in `others` are left out,
 * so that no validation record was seen in training.
 */
function restaurants(folder, split, limit, others = []) {
  const seen = new Set(others.map((row) => row.prompt.trim()));
  const taken = new Map();
  const rows = [];
  for (const line of readFileSync(join(folder, `${split}.jsonl`), "utf8")
    .trim()
    .split("\n")) {
    const row = JSON.parse(line);
    const prompt = row.prompt.trim();
    const completion = row.completion
      .trim()
      .replace(/ +/g, " ")
      .replace(/ ([,.])/g, "$1");
    const triples = prompt.split(" | ").map((triple) => triple.split(" : "));
    const [name] = triples[0];
    const keys = new Set(triples.map(([, key]) => key));
    if (!["eatType", "food", "priceRange", "customer rating", "familyFriendly"].some((key) => keys.has(key))) continue;
    if (triples.length < 2 || triples.some(([subject]) => subject !== name)) continue;
    if (prompt.length > 220 || completion.length > 170 || /[^\x20-\x7e]/.test(prompt + completion)) continue;
    if (!/^[A-Z].*\.$/.test(completion) || !completion.includes(name)) continue;
    const count = taken.get(prompt) ?? 0;
    if (count >= 2 || seen.has(prompt)) continue;
    taken.set(prompt, count + 1);
    rows.push({ prompt: `${prompt}\n`, completion });
  }
  return shuffle(rows, 4).slice(0, limit);
}

writeSet("flags", ...flags());
if (values.genesis !== undefined) writeSet("genesis", ...genesis(values.genesis));
if (values.dart !== undefined) {
  const train = restaurants(values.dart, "train", 800);
  writeSet("restaurants", train, restaurants(values.dart, "valid", 100, train));
}
