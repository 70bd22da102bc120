/** The rank study as a page that one can read without the paper. */

import type { AdapterStudy, ModuleStudy, Overlap, Study } from "../study/study.ts";
import { lineChart, type Series } from "./chart.ts";
import { count, decimal, percent, plural, significant } from "./format.ts";
import { heatMap, heatScale } from "./heat-map.ts";
import { commandBlock, type Html, html, page, section } from "./html.ts";
import { meansByKind } from "./study-means.ts";
import { foldedTable, keyFigures, table } from "./table.ts";

/** Modules whose figures are drawn; tables list all. */
const DRAWN = 6;

/** A complete HTML document that needs nothing beside it. */
export function studyReport(study: Study, command: string): string {
  const { adapters } = study;
  const title = `Rank study of ${adapters.map(({ name }) => name).join(", ")}`;
  return page(
    title,
    html`<header>
<p class="kind">Rank study</p>
<h1>${title}</h1>
<p class="lede">${summary(study)}</p>
${adapters.map(keyNumbers)}</header>
${section("How many directions an update uses", spectra(study))}
${section("What two adapters learned in common", overlaps(study))}
${section("Whether the update strengthens what the weight already has", amplifications(study))}
${section("Ranks that would do", suggestions(study))}
${section("Command", commandBlock(command))}`,
  );
}

function summary({ adapters, energy }: Study): string {
  const all = adapters.flatMap(({ modules }) => modules);
  const mean = all.reduce((sum, { effectiveRank }) => sum + effectiveRank, 0) / all.length;
  const ranks = all.reduce((sum, { rank }) => sum + rank, 0) / all.length;
  return `${plural(all.length, "update")} of mean rank ${significant(ranks)} use ${significant(mean)} directions on the mean (effective rank); ${percent(energy)} of their energy fits into the ranks suggested below.`;
}

function keyNumbers({ name, modules, parameters, suggestedParameters }: AdapterStudy): Html {
  return keyFigures([
    ["Adapter", name, plural(modules.length, "module")],
    ["Parameters", count(parameters), `${count(suggestedParameters)} with the suggested ranks`],
    [
      "Effective rank",
      significant(meanOf(modules, (each) => each.effectiveRank)),
      `of ${significant(meanOf(modules, ({ rank }) => rank))}`,
    ],
    ["Stable rank", significant(meanOf(modules, (each) => each.stableRank)), "energy over that of the first direction"],
  ]);
}

function meanOf(modules: readonly ModuleStudy[], of: (module: ModuleStudy) => number): number {
  return modules.reduce((sum, each) => sum + of(each), 0) / modules.length;
}

function spectra({ adapters }: Study): Html {
  const charts = adapters.map(({ name, modules }) => {
    const series = chosen(modules).map(
      ({ module, singularValues }, i): Series => ({
        name: short(module),
        colour: ((i % 6) + 1) as Series["colour"],
        look: "marks",
        points: singularValues.map((value, at) => ({ x: at + 1, y: value / singularValues[0]! })),
      }),
    );
    return lineChart({
      title: `${name}: singular values of ΔW, the first being 1`,
      x: { label: "direction", integers: true },
      y: { label: "σ / σ₁", domain: [0, 1] },
      series,
    });
  });
  const rows = adapters.flatMap(({ name, modules }) =>
    modules.map((each) => [
      each.module,
      name,
      each.rank,
      significant(each.effectiveRank),
      significant(each.stableRank),
      each.rank90,
      each.rank99,
      significant(each.norm),
    ]),
  );
  const columns = ["Module", "Adapter", "Rank", "Effective rank", "Stable rank", "90 %", "99 %", "‖ΔW‖"];
  return html`<p>An update ΔW = (α / r)·B·A is a sum of r directions of falling weight, its singular values. Few large ones mean
that a smaller rank would do.</p>${charts}${table(
    "Means by kind of module",
    columns.map((head, i) => ({ head, number: i > 1 })),
    meansByKind(
      adapters.flatMap(({ name, modules }) => modules.map((each) => ({ ...each, among: [name] }))),
      (each) => [each.rank, each.effectiveRank, each.stableRank, each.rank90, each.rank99, each.norm],
    ),
  )}${foldedTable(
    "Every module: directions that hold 90 % and 99 % of the energy",
    columns.map((head, i) => ({ head, number: i > 1 })),
    rows,
  )}`;
}

function overlaps({ overlaps: all }: Study): Html | null {
  if (all.length === 0) return null;
  const pairs = all.filter(({ second }) => second !== "random");
  const shown = (pairs.length > 0 ? pairs : all).map(({ module }) => module);
  const modules = [...new Set(shown)];
  const drawn = new Set(pick(modules, 3));
  const maps = all
    .filter(({ module }) => drawn.has(module))
    .map((each) =>
      heatMap({
        title: `${short(each.module)}: ${each.first} and ${each.second}`,
        rows: each.phi,
        across: `directions of ${each.second}`,
        down: `of ${each.first}`,
        note: `φ of all ${decimal(whole(each), 3)}, of random spaces ${decimal(each.expected, 3)}`,
      }),
    );
  const rows = all.map((each) => [
    each.module,
    each.first,
    each.second,
    decimal(each.phi[0]![0]!, 3),
    decimal(whole(each), 3),
    decimal(each.expected, 3),
  ]);
  const columns = ["Module", "One", "Other", "φ(1, 1)", "φ of all", "random"].map((head, i) => ({
    head,
    number: i > 2,
  }));
  return html`<p>φ(i, j) tells how much of the smaller of two spaces, the first i directions of one A and the first j of another,
lies in the larger: 1 is all of it, 0 none. The paper's finding is that the first direction of two runs agrees while the others do
not, so that a rank of 1 already catches what both learned.</p>${heatScale()}<div class="halves">${maps}</div>${table(
    "Means by kind of module: the first directions, and the whole spaces",
    columns,
    meansByKind(
      all.map((each) => ({ ...each, among: [each.first, each.second] })),
      (each) => [each.phi[0]![0]!, whole(each), each.expected],
    ),
  )}${foldedTable("Every pair", columns, rows)}`;
}

function whole({ phi }: Overlap): number {
  return phi.at(-1)!.at(-1)!;
}

function amplifications({ adapters, base }: Study): Html | null {
  const rows = adapters.flatMap(({ name, modules }) =>
    modules.flatMap(({ module, amplification: found }) =>
      found === null
        ? []
        : [
            [
              module,
              name,
              found.r,
              significant(found.weightNorm),
              significant(found.updateNorm),
              significant(found.inUpdate),
              significant(found.inWeight),
              significant(found.inRandom),
              significant(found.factor),
            ],
          ],
    ),
  );
  if (rows.length === 0) return null;
  const columns = ["Module", "Adapter", "r", "‖W‖", "‖ΔW‖", "in ΔW's", "in W's own", "in random", "Factor"];
  return html`<p>UᵀWV is the weight of ${base ?? "the base"} seen along r directions: those of the update, its own largest ones, random
ones. More along the update's than along random ones means that the update follows the weight; much less than along its own
largest, that it picks directions which the weight does not stress. The factor ‖ΔW‖ / ‖UᵀWV‖ is how much they are strengthened.</p>${table(
    "Means by kind of module",
    columns.map((head, i) => ({ head, number: i > 1 })),
    meansByKind(
      adapters.flatMap(({ name, modules }) =>
        modules.flatMap(({ module, amplification: found }) => (found ? [{ ...found, module, among: [name] }] : [])),
      ),
      (each) => [each.r, each.weightNorm, each.updateNorm, each.inUpdate, each.inWeight, each.inRandom, each.factor],
    ),
  )}${foldedTable(
    "‖UᵀWV‖ along three kinds of directions",
    columns.map((head, i) => ({ head, number: i > 1 })),
    rows,
  )}`;
}

function suggestions({ adapters, energy }: Study): Html {
  const rows = adapters.flatMap(({ name, modules }) =>
    modules.map(({ module, rank, suggestedRank, shape }) => [
      module,
      name,
      rank,
      suggestedRank,
      count(suggestedRank * (shape[0] + shape[1])),
    ]),
  );
  return html`<p>The fewest directions that hold ${percent(energy)} of each update's energy. <code>lowrank adapter resize PATH --energy
${energy} --out DIR</code> writes an adapter of these ranks.</p>${foldedTable(
    "Rank by module",
    ["Module", "Adapter", "Rank", "Suggested", "Parameters then"].map((head, i) => ({ head, number: i > 1 })),
    rows,
  )}`;
}

function chosen(modules: readonly ModuleStudy[]): readonly ModuleStudy[] {
  return pick(
    modules.filter(({ singularValues }) => singularValues[0]! > 0),
    DRAWN,
  );
}

/** Evenly spread ones, the first and the last among them. */
function pick<T>(all: readonly T[], most: number): readonly T[] {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, i) => all[Math.round((i * (all.length - 1)) / (most - 1))]!);
}

/** The last parts of a module's name, with its layer's number. */
function short(module: string): string {
  const [, layer, name] = /(\d+)\.(?:.*\.)?([^.]+)$/.exec(module) ?? [];
  return layer === undefined ? module : `${name} of layer ${layer}`;
}
