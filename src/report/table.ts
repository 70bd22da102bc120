/** Tables: row headings first, numbers aligned on the right; wide ones scroll inside their frame. */

import { count } from "./format.ts";
import { type Content, type Html, html } from "./html.ts";

export interface Column {
  readonly head: string;
  /** Aligned on the right, with digits of one width. */
  readonly number?: boolean;
  /** Left out on a phone: it repeats what another column says. */
  readonly roomy?: boolean;
}

/** Rows that a reader still takes in at once. */
const LONG = 24;

/** A name and what it is; numbers are written with thousands separators. */
export type Fact = readonly [name: string, value: string | number];

/** A table with headings; the first cell of a row is the row's own. `caption` is read before the table. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly Content[])[]): Html {
  const classes = columns.map(
    ({ number, roomy }) => `${number === true ? "number" : "text"}${roomy === true ? " roomy" : ""}`,
  );
  const classOf = (column: number): string => classes[column] ?? "text";
  const heads = columns.map((column, i) => html`<th scope="col" class="${classOf(i)}">${column.head}</th>`);
  const body = rows.map((row) => {
    const cells = row.map((cell, i) =>
      i === 0 ? html`<th scope="row" class="${classOf(i)}">${cell}</th>` : html`<td class="${classOf(i)}">${cell}</td>`,
    );
    return html`<tr>${cells}</tr>\n`;
  });
  // Numbers alone stand closer together: the eye must not lose the row.
  const width = columns.every(({ number }) => number === true) ? "compact" : "full";
  return html`<div class="scroll" role="region" aria-label="${caption}" tabindex="0"><table class="${width}">
<caption>${caption}</caption>
<thead><tr>${heads}</tr></thead>
<tbody>
${body}</tbody>
</table></div>\n`;
}

/** As `table`, folded away when it is long: who wants every row opens it. */
export function foldedTable(caption: string, columns: readonly Column[], rows: readonly (readonly Content[])[]): Html {
  const whole = table(caption, columns, rows);
  if (rows.length <= LONG) return whole;
  return html`<details><summary>${caption}: ${count(rows.length)} rows</summary>${whole}</details>\n`;
}

/** Names beside values, which wrap; null when there are none. */
export function factTable(caption: string, facts: readonly Fact[]): Html | null {
  if (facts.length === 0) return null;
  const rows = facts.map(
    ([name, value]) =>
      html`<tr><th scope="row">${name}</th><td>${typeof value === "number" ? count(value) : value}</td></tr>\n`,
  );
  return html`<table class="facts">\n<caption>${caption}</caption>\n<tbody>\n${rows}</tbody>\n</table>\n`;
}

/** The few numbers that a reader wants first: a label, a large value, and a remark that may be empty. */
export function keyFigures(figures: readonly (readonly [label: string, value: string, remark: string])[]): Html {
  const items = figures.map(([label, value, remark]) => {
    const small = remark === "" ? null : html`<dd class="remark">${remark}</dd>`;
    return html`<div><dt>${label}</dt><dd>${value}</dd>${small}</div>\n`;
  });
  return html`<dl class="figures">\n${items}</dl>\n`;
}
