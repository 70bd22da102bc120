/** `lowrank data check`, and its view of the data for other commands. */

import type { DataReport, TokenView } from "../../data/preflight.ts";
import { TASKS, type Task } from "../../task.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { type Style, table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Show what a data file holds for a model: numbers, and a row with its mask",
  usage: "FILE --model DIR [options]",
  arguments: ["FILE"],
  flags: {
    model: { type: "string", value: "DIR", required: true, help: "Base: a Hugging Face folder, or embedded:NAME" },
    task: { type: "string", help: "What the rows are for; else the model or the rows say", choices: TASKS },
    maxLength: { type: "integer", help: "Tokens a row; longer ones are cut on the right", shown: "1024" },
    maskPrompt: { type: "boolean", help: "Train on prompts, too" },
    row: { type: "integer", help: "Line of the row to show (the first with targets)" },
  },
  notes: "Example: lowrank data check chats.jsonl --model SmolLM2-135M-Instruct",
  run: async ({ flags, arguments: [file], output }) => {
    const { openBase, readData, resolveTask } = await import("../../program/setup.ts");
    const { preflight } = await import("../../data/preflight.ts");
    const { dataFile } = await import("../../data/folder.ts");
    const { DataError } = await import("../../errors.ts");
    const { maxLength = 1024, maskPrompt = true, row } = flags;
    const base = openBase(flags.model, cacheFolder());
    const path = dataFile(file!, "train");
    const task = resolveTask(base, (flags.task as Task | undefined) ?? null, null);
    const data = readData(base, path, { task, maxLength, maskPrompt });
    if (row !== undefined && !data.examples.some(({ line }) => line === row)) {
      const last = data.examples.at(-1)?.line;
      throw new DataError(
        `${path}:${row}: no row begins at this line, the last one is at ${last}. Choose another --row.`,
      );
    }
    const report = preflight(data, { tokenizer: base.tokenizer, endId: base.endId, maxLength, line: row });
    output.result({ file: path, ...report }, () =>
      [dataTable(report), "", sampleTokens(report, output.style), ...doubts(report)].join("\n"),
    );
  },
});

export default command;

/** The numbers, as a table. */
export function dataTable(report: DataReport): string {
  const { rows, tokens, targetTokens, targetShare, truncatedRows, droppedRows, longestRow } = report;
  return table([
    ["format", `${report.format}, for ${report.task}`],
    ["rows", `${rows}`],
    ["tokens", `${tokens}, ${(tokens / rows).toFixed(1)} a row`],
    ["targets", `${targetTokens}${targetShare === null ? "" : ` (${(100 * targetShare).toFixed(1)} % of the tokens)`}`],
    ["longest", `${longestRow.tokens} tokens, line ${longestRow.line}`],
    ["truncated", `${truncatedRows} rows`],
    ["dropped", `${droppedRows} rows`],
  ]);
}

/** The sample as text, with its targets told apart: a line for each stretch of either. */
export function sampleText({ sample }: DataReport, style: Style): string {
  const worse = sample.rejected ? ["rejected:", ...stretchesOf(sample.rejected.tokens, style)] : [];
  return [heading(sample), ...stretchesOf(sample.tokens, style), ...worse].join("\n");
}

function stretchesOf(tokens: readonly TokenView[], style: Style): string[] {
  const stretches: { target: boolean; text: string }[] = [];
  for (const token of tokens) {
    const last = stretches.at(-1);
    if (last?.target === token.target) last.text += shown(token);
    else stretches.push({ target: token.target, text: shown(token) });
  }
  return stretches.map(({ target, text }) =>
    target ? style.bold(`  target  ${quoted(text)}`) : style.dim(`          ${quoted(text)}`),
  );
}

/** The sample token by token. */
function sampleTokens({ sample }: DataReport, style: Style): string {
  const worse = sample.rejected ? ["rejected:", ...tokenLines(sample.rejected.tokens, style)] : [];
  return [heading(sample), ...tokenLines(sample.tokens, style), ...worse].join("\n");
}

function tokenLines(tokens: readonly TokenView[], style: Style): string[] {
  const rows = table(
    tokens.map((token) => [token.id, token.target ? "target" : "", token.text === null ? "" : quoted(token.text)]),
    "  ",
  ).split("\n");
  return rows.map((line, i) => (tokens[i]!.target ? style.bold(line) : style.dim(line)));
}

export function doubts(report: DataReport): string[] {
  return report.doubts.map((doubt) => `Warning: ${doubt}`);
}

function heading({ line, tokens, more, label, desirable }: DataReport["sample"]): string {
  const said = label ?? desirable;
  const labelled = said === undefined ? "" : `, label ${JSON.stringify(said)}`;
  return `line ${line}, ${tokens.length + more} tokens${more > 0 ? `, the first ${tokens.length}` : ""}${labelled}:`;
}

function shown({ id, text }: TokenView): string {
  return text ?? `${id} `;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
