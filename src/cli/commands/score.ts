/** `lowrank score` */

import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Score generated texts against references: BLEU, NIST, METEOR, ROUGE-L, CIDEr",
  usage: "FILE [options]",
  arguments: ["FILE"],
  flags: {},
  notes:
    'Rows are {"text": …, "references": [… one or more]}. Words are told apart as mteval-v13a does, in lower case.\n' +
    "METEOR matches exact words and stems. lowrank eval --generate writes and scores such rows.",
  run: async ({ arguments: [file], output }) => {
    const [{ readRows }, { scoreTexts }, { DataError }] = await Promise.all([
      import("../../data/read-rows.ts"),
      import("../../evaluate/text/score.ts"),
      import("../../errors.ts"),
    ]);
    const texts = [...readRows(file!)].map(({ line, value: { text, references } }) => {
      const listed = Array.isArray(references) && references.every((each) => typeof each === "string");
      if (typeof text !== "string" || !listed) {
        throw new DataError(`${file}:${line}: needed {"text": "…", "references": ["…"]}.`);
      }
      return { text, references: references as string[] };
    });
    const scores = scoreTexts(texts);
    output.result(scores, () => table(Object.entries(scores).map(([name, value]) => [name, scoreText(value)])));
  },
});

export default command;

export function scoreText(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(4);
}
