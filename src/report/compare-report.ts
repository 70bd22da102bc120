/** A comparison as a page: quality with its spread beside what it cost. */

import type { ComparisonResult } from "../compare/compare.ts";
import { isCost } from "../compare/result.ts";
import { type SummaryRow, summarise } from "../compare/summary.ts";
import { lineChart, type Series } from "./chart.ts";
import { byteSize, count, decimal, duration, percent, plural, significant, spread } from "./format.ts";
import { commandBlock, type Html, html, page, section } from "./html.ts";
import { table } from "./table.ts";

/** A complete HTML document that needs nothing beside it. */
export function compareReport(result: ComparisonResult, command: string): string {
  const rows = summarise(result.results);
  const tasks = [...new Set(rows.map(({ task }) => task))];
  const title = `Methods compared on ${result.model}`;
  return page(
    title,
    html`<header>
<p class="kind">Comparison</p>
<h1>${title}</h1>
<p class="lede">${plural(result.results.length, "run")} of ${plural(new Set(rows.map(({ method }) => method)).size, "method")} on ${plural(tasks.length, "task")}.</p>
${result.failures.map(({ method, task, seed, error }) => html`<p class="warning">${method} on ${task}, seed ${seed}: ${error}</p>\n`)}</header>
${tasks.map((task) => section(task, taskPart(rows.filter((each) => each.task === task))))}
${section("Command", commandBlock(command))}`,
  );
}

function taskPart(rows: readonly SummaryRow[]): Html {
  const { metric } = rows[0]!;
  const best = rows.reduce((a, b) => ((isCost(metric) ? b.mean < a.mean : b.mean > a.mean) ? b : a));
  const columns = [
    "Method",
    "Rows",
    metric,
    "± seeds",
    "Trainable",
    "Share",
    "File",
    "Memory",
    "Tokens/s",
    "Time",
    "Pass: base",
    "unmerged",
    "merged",
    "lr",
  ];
  return html`${table(
    `${metric}${isCost(metric) ? ", less is better" : ""}: mean and standard deviation over ${plural(best.seeds, "seed")}; best: ${best.method}`,
    columns.map((head, i) => ({ head, number: i > 0 })),
    rows.map((row) => [
      row.method,
      row.rows === null ? "all" : count(row.rows),
      decimal(row.mean),
      `${spread(row.deviation, row.seeds)} (${row.seeds})`,
      count(row.trainableParameters),
      percent(row.trainableParameters / row.totalParameters),
      byteSize(row.fileBytes),
      byteSize(row.peakMemoryBytes),
      significant(row.tokensPerSecond),
      duration(row.seconds),
      ...(["base", "unmerged", "merged"] as const).map((name) => milliseconds(row.inference?.[name])),
      row.lr === null ? "default" : significant(row.lr),
    ]),
  )}${curve(rows, metric)}`;
}

function milliseconds(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${significant(value)}\u00a0ms`;
}

/** Quality by the number of rows, where more than one was asked for. */
function curve(rows: readonly SummaryRow[], metric: string): Html | null {
  const counts = [...new Set(rows.flatMap((row) => (row.rows === null ? [] : [row.rows])))];
  if (counts.length < 2) return null;
  const methods = [...new Set(rows.map(({ method }) => method))].slice(0, 6);
  return lineChart({
    title: `${metric} by training rows`,
    x: { label: "rows", scale: "log" },
    y: { label: metric },
    series: methods.map(
      (name, i): Series => ({
        name,
        colour: ((i % 6) + 1) as Series["colour"],
        look: "marks",
        points: rows
          .flatMap((row) => (row.method === name && row.rows !== null ? [{ x: row.rows, y: row.mean }] : []))
          .toSorted((a, b) => a.x - b.x),
      }),
    ),
  });
}
