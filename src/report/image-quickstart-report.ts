/** The page of `lowrank image quickstart`: grids of pictures, and what was measured of them. */

import { byteSize, change, count, decimal, duration, plural, significant } from "./format.ts";
import { commandBlock, type Html, html, page, section } from "./html.ts";
import { type PictureRow, pictureGrid } from "./picture-grid.ts";
import { table } from "./table.ts";

export interface PictureGrid {
  readonly caption: string;
  readonly heads: readonly string[];
  readonly rows: readonly PictureRow[];
}

export interface ImageQuickstartInput {
  readonly base: string;
  readonly adapters: readonly {
    readonly name: string;
    readonly trigger: string;
    readonly path: string;
    readonly evalLossBefore: number;
    readonly evalLossAfter: number;
    readonly trainableParameters: number;
    readonly totalParameters: number;
    readonly adapterBytes: number;
    readonly seconds: number;
    readonly scoreBase: number;
    readonly scoreStyled: number;
    readonly scoreWithoutTrigger: number;
    readonly priorDrift: number;
    readonly mergeMaxAbsDiff: number;
  }[];
  readonly styles: readonly { readonly description: string; readonly measured: string }[];
  readonly weightZeroEqualsBase: boolean;
  readonly seconds: number;
  readonly grids: readonly PictureGrid[];
}

export function imageQuickstartReport(input: ImageQuickstartInput): string {
  const { base, adapters, grids, seconds } = input;
  const [first, ...sweeps] = grids;
  return page(
    "lowrank image quickstart",
    html`<header>
<p class="kind">lowrank image quickstart</p>
<h1>${plural(adapters.length, "style")} on one diffusion model</h1>
<p class="lede">${base} has only learned flat shapes on plain grounds. ${plural(adapters.length, "LoRA adapter")} taught it other ways of drawing, in ${duration(seconds)} with everything on this page. It is a very small model that knows 480 captions: it proves the way from pictures to adapters, not the quality of large ones.</p>
${first ? pictureGrid(first.caption, first.heads, first.rows) : null}</header>
${section("Measured", measures(input))}
${section(
  "From weight 0 to 1",
  sweeps.map(({ caption, heads, rows }) => html`<h3>${caption}</h3>${pictureGrid(caption, heads, rows)}`),
)}
${section("Adapters", files(input))}
${section("Next: your own pictures", commandBlock('npx lowrank image train --model YOUR-PIPELINE --data PHOTOS --trigger "zig cat" --out runs/zig'))}`,
  );
}

function measures({ adapters, styles, weightZeroEqualsBase }: ImageQuickstartInput): Html {
  return html`<p>At weight 0 the pictures ${weightZeroEqualsBase ? "have the very bytes of" : "differ from"} the base’s.</p>
${table(
  "Loss on pictures held out from training, at the same noise before and after",
  [
    { head: "Style" },
    { head: "Before", number: true },
    { head: "After", number: true },
    { head: "Change", number: true },
    { head: "Merged − unmerged predictions, largest", number: true },
  ],
  adapters.map(({ name, evalLossBefore: before, evalLossAfter: after, mergeMaxAbsDiff }, i) => [
    html`${name}<span class="about">${styles[i]!.description}</span>`,
    decimal(before),
    decimal(after),
    change(before, after),
    significant(mergeMaxAbsDiff),
  ]),
)}
${table(
  "Of the pictures above; drift is the mean difference of pixels to the base’s, 0 to 1",
  [
    { head: "Style" },
    { head: "Base", number: true },
    { head: "Styled", number: true },
    { head: "Without trigger", number: true },
    { head: "Drift without trigger", number: true },
  ],
  adapters.map(({ name, scoreBase, scoreStyled, scoreWithoutTrigger, priorDrift }, i) => [
    html`${name}<span class="about">${styles[i]!.measured}</span>`,
    decimal(scoreBase),
    decimal(scoreStyled),
    decimal(scoreWithoutTrigger),
    decimal(priorDrift),
  ]),
)}
<p class="note">So short a training teaches a style more than its trigger: pictures that do not call it change, too. <code>image train --class-data</code> (prior preservation) holds that back.</p>`;
}

function files({ adapters }: ImageQuickstartInput): Html {
  return table(
    "Files",
    [
      { head: "Style" },
      { head: "Trained parameters", number: true },
      { head: "Of", number: true },
      { head: "Size", number: true },
      { head: "Training", number: true },
    ],
    adapters.map((each) => [
      html`${each.name}<span class="about">${each.path}</span>`,
      count(each.trainableParameters),
      count(each.totalParameters),
      byteSize(each.adapterBytes),
      duration(each.seconds),
    ]),
  );
}
