/** Line charts as static SVG: readable without a script, at the widths of a page, half a page and a phone. */

import { line, symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle } from "d3-shape";
import { type Axis, fits, type Scale, scaleOf, ticksOf } from "./axis.ts";
import { decimal, plural } from "./format.ts";
import { figure, type Html, html } from "./html.ts";
import { type Point, thin } from "./points.ts";

export interface Series {
  readonly name: string;
  /** Which of the six colours of the style, from 1. */
  readonly colour: 1 | 2 | 3 | 4 | 5 | 6;
  /** `faint`: thin, behind the others; `marks`: a sign at each point, joined by a line. */
  readonly look: "line" | "faint" | "marks";
  /** In the order of x. */
  readonly points: readonly Point[];
}

export interface LineChart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** Half a page: two stand beside each other where the screen has room. */
  readonly half?: boolean;
  /** A remark beside the title. */
  readonly note?: string;
}

const WIDE = { width: 900, height: 340 };
const NARROW = { width: 400, height: 250 };

/** More signs than these would touch each other; then the line stands alone. */
const MOST_MARKS = 40;

const SIGNS = [symbolCircle, symbolSquare, symbolTriangle, symbolDiamond];

/** The chart with its title, a legend when there is more than one colour, and a note on what cannot be drawn. */
export function lineChart(chart: LineChart): Html {
  const sizes = chart.half === true ? [NARROW] : [WIDE, NARROW];
  const drawings = sizes.map((size) =>
    draw(chart, size, sizes.length === 1 ? "only" : size === WIDE ? "wide" : "narrow"),
  );
  const several = new Set(chart.series.map(({ colour }) => colour)).size > 1;
  const notes = [chart.note ?? "", gaps(chart)].filter((note) => note !== "");
  return figure(chart.title, drawings, {
    legend: several ? legend(chart.series) : null,
    note: notes.length === 0 ? null : notes.join("; "),
  });
}

/** How many places have a value that cannot be drawn; a curve and its mean share them. */
function gaps(chart: LineChart): string {
  const places = chart.series.flatMap(({ points }) => points.filter((point) => !drawable(chart, point)));
  const lost = new Set(places.map(({ x }) => x)).size;
  return lost === 0
    ? ""
    : `${plural(lost, "value")} not finite${chart.y.scale === "log" ? " or not positive" : ""}, left as gaps`;
}

function legend(series: readonly Series[]): Html {
  const items = series.map(({ name, colour, look }) => {
    const sign = look === "marks" ? signAt(colour, 14, 6, null) : null;
    const stroke = html`<path class="${look}" d="M2,6H26"/>`;
    return html`<li><svg class="c${colour}" width="28" height="12" aria-hidden="true">${stroke}${sign}</svg>${name}</li>`;
  });
  return html`<ul class="legend">${items}</ul>\n`;
}

function draw(chart: LineChart, { width, height }: typeof WIDE, kind: "wide" | "narrow" | "only"): Html {
  const shown = chart.series.map(({ points }) => points.filter((point) => drawable(chart, point)));
  const y = scaleOf(
    chart.y,
    shown.flatMap((points) => points.map((point) => point.y)),
  );
  const x = scaleOf(
    chart.x,
    shown.flatMap((points) => points.map((point) => point.x)),
  );
  y.nice(5);
  const yTicks = ticksOf(chart.y, y, 5);
  const left = 14 + 7.5 * Math.max(1, ...yTicks.map(({ label }) => label.length));
  const [right, top, bottom] = [width - 16, 30, height - 42];
  x.range([left, right]);
  y.range([bottom, top]);

  const rows = yTicks.map(({ at, label }) => {
    const place = round(y(at));
    return html`<path class="grid" d="M${round(left)},${place}H${right}"/><text x="${round(left - 8)}" y="${place}" dy=".34em" text-anchor="end">${label}</text>\n`;
  });
  const columns = ticksOf(chart.x, x, width / 90).map(({ at, label }) => {
    const place = round(x(at));
    return html`<path class="axis" d="M${place},${bottom}v5"/><text x="${place}" y="${bottom + 19}" text-anchor="middle">${label}</text>\n`;
  });
  const curves = chart.series.map((series) => drawSeries(chart, series, x, y, Math.round((right - left) / 2)));
  return html`<svg class="chart ${kind}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${describe(chart)}">
${rows}<path class="axis" d="M${round(left)},${bottom}H${right}"/>
${columns}<text class="label" x="0" y="14">${chart.y.label}</text><text class="label" x="${right}" y="${height - 5}" text-anchor="end">${chart.x.label}</text>
${curves}</svg>\n`;
}

function drawSeries(
  chart: LineChart,
  { name, colour, look, points }: Series,
  x: Scale,
  y: Scale,
  columns: number,
): Html {
  const [from = 0, to = 1] = x.range();
  const placed = points.filter((point) => fits(chart.x, point.x));
  const kept = thin(placed, columns, (value) => (x(value) - from) / (to - from));
  const path = line<Point>()
    .defined((point) => fits(chart.y, point.y))
    .x((point) => x(point.x))
    .y((point) => y(point.y))
    .digits(1);
  const drawn = kept.filter((point) => fits(chart.y, point.y));
  const signs =
    drawn.length === 1 || (look === "marks" && drawn.length <= MOST_MARKS)
      ? drawn.map((point) =>
          signAt(
            colour,
            x(point.x),
            y(point.y),
            `${name}, ${chart.x.label} ${decimal(point.x, 0)}: ${decimal(point.y)}`,
          ),
        )
      : null;
  return html`<g class="c${colour}"><path class="${look}" d="${path(kept) ?? ""}"/>${signs}</g>\n`;
}

/** A sign whose form goes with its colour; `title` shows when pointed at. */
function signAt(colour: number, x: number, y: number, title: string | null): Html {
  const shape =
    symbol()
      .type(SIGNS[(colour - 1) % SIGNS.length]!)
      .size(52)
      .digits(1)() ?? "";
  const tip = title === null ? null : html`<title>${title}</title>`;
  return html`<path class="mark" transform="translate(${round(x)},${round(y)})" d="${shape}">${tip}</path>`;
}

/** The chart in words, for those who hear the page. */
function describe({ title, x, y, series }: LineChart): string {
  const parts = series.map(({ name, points }) => {
    const drawn = points.filter((point) => fits(x, point.x) && fits(y, point.y));
    const [first, last] = [drawn[0], drawn.at(-1)];
    if (first === undefined || last === undefined) return `${name}: no values`;
    return drawn.length === 1
      ? `${name}: ${decimal(first.y)}`
      : `${name}: from ${decimal(first.y)} to ${decimal(last.y)}`;
  });
  return `${title}: ${y.label} by ${x.label}. ${parts.join("; ")}.`;
}

function drawable({ x, y }: LineChart, point: Point): boolean {
  return fits(x, point.x) && fits(y, point.y);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
