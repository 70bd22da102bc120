/**
 * E2E, WebNLG and DART as they lie in github.com/microsoft/LoRA (examples/NLG/data) → {"prompt", "completion"} rows, several a prompt.
 *   node scripts/nlg-data.mjs e2e|webnlg|dart DATA_FOLDER OUT
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [task, from, out] = process.argv.slice(2);
const json = (name) => JSON.parse(readFileSync(join(from, name), "utf8"));
const triple = (parts) => parts.join(" : ");

/** Each part's rows, by the file's own layout. */
const READERS = {
  e2e: (part) =>
    readFileSync(join(from, "e2e", `${part}.txt`), "utf8")
      .split("\n")
      .filter((line) => line.includes("||"))
      .map((line) => line.split("||"))
      .map(([source, target]) => [source.trim(), target.trim()]),
  webnlg: (part) =>
    json(join("webnlg_challenge_2017", `${part === "valid" ? "dev" : part}.json`)).entries.flatMap((entry) =>
      Object.values(entry).flatMap(({ modifiedtripleset, lexicalisations }) =>
        lexicalisations
          .filter(({ comment }) => comment === "good" || comment === "")
          .map(({ lex }) => [modifiedtripleset.map((t) => triple([t.subject, t.property, t.object])).join(" | "), lex]),
      ),
    ),
  dart: (part) =>
    json(join("dart", `dart-v1.1.1-full-${part === "valid" ? "dev" : part}.json`)).flatMap(
      ({ tripleset, annotations }) => annotations.map(({ text }) => [tripleset.map(triple).join(" | "), text]),
    ),
};

if (!READERS[task] || !out) throw new Error("usage: node scripts/nlg-data.mjs e2e|webnlg|dart DATA_FOLDER OUT");
mkdirSync(out, { recursive: true });
for (const part of ["train", "valid", "test"]) {
  const rows = READERS[task](part).map(([source, target]) =>
    JSON.stringify({ prompt: source, completion: ` ${target}` }),
  );
  writeFileSync(join(out, `${part}.jsonl`), `${rows.join("\n")}\n`);
  console.log(`${part}: ${rows.length} rows`);
}
