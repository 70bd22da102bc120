/** Heat maps as static SVG: shares from 0 to 1 as the depth of one colour. */

import { figure, type Html, html } from "./html.ts";

export interface HeatMap {
  readonly title: string;
  /** Values from 0 to 1, row by row from the top. */
  readonly rows: readonly (readonly number[])[];
  /** What is counted to the right and downwards, from 1. */
  readonly across: string;
  readonly down: string;
  readonly note?: string;
}

/** Cells beyond which a side is thinned: finer ones could not be told apart. */
const MOST_CELLS = 64;
const SIDE = 280;
const LEFT = 34;
const BOTTOM = 30;

export function heatMap({ title, rows, across, down, note }: HeatMap): Html {
  const [lines, columns] = [places(rows.length), places(rows[0]!.length)];
  const [width, height] = [SIDE / columns.length, SIDE / lines.length];
  const cells = lines.flatMap((i, y) =>
    columns.map((j, x) => {
      const value = rows[i]![j]!;
      const about = `i = ${i + 1}, j = ${j + 1}: ${value.toFixed(3)}`;
      return html`<rect x="${(LEFT + x * width).toFixed(2)}" y="${(y * height).toFixed(2)}" width="${width.toFixed(2)}" height="${height.toFixed(2)}" fill="var(--c1)" fill-opacity="${Math.min(1, Math.max(0, value)).toFixed(3)}"><title>${about}</title></rect>`;
    }),
  );
  const middle = LEFT + SIDE / 2;
  const drawing = html`<svg class="chart only" viewBox="0 0 ${LEFT + SIDE + 8} ${SIDE + BOTTOM}" role="img" aria-label="${title}" font-size="9" shape-rendering="crispEdges">
<rect x="${LEFT}" y="0" width="${SIDE}" height="${SIDE}" fill="none" class="axis"/>${cells}
<text x="${LEFT}" y="${SIDE + 14}">1</text><text x="${LEFT + SIDE}" y="${SIDE + 14}" text-anchor="end">${rows[0]!.length}</text>
<text x="${middle}" y="${SIDE + 26}" text-anchor="middle">${across}</text>
<text x="${LEFT - 5}" y="11" text-anchor="end">1</text><text x="${LEFT - 5}" y="${SIDE}" text-anchor="end">${rows.length}</text>
<text x="12" y="${SIDE / 2}" text-anchor="middle" transform="rotate(-90 12 ${SIDE / 2})">${down}</text>
</svg>`;
  return figure(title, drawing, note === undefined ? {} : { note });
}

/** Places that are shown: all, or so many evenly spread. */
function places(count: number): number[] {
  if (count <= MOST_CELLS) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: MOST_CELLS }, (_, i) => Math.round((i * (count - 1)) / (MOST_CELLS - 1)));
}

/** What the colours mean: a strip from 0 to 1. */
export function heatScale(): Html {
  const steps = Array.from({ length: 11 }, (_, i) => i / 10);
  const cells = steps.map(
    (value, i) =>
      html`<rect x="${20 + i * 18}" y="2" width="18.4" height="12" fill="var(--c1)" fill-opacity="${value}"/>`,
  );
  return html`<svg class="chart only" viewBox="0 0 420 18" role="img" aria-label="Colours from 0 to 1"><text x="2" y="13">0</text>${cells}<text x="${24 + 11 * 18}" y="13">1</text></svg>\n`;
}
