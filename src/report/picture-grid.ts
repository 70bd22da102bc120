/** Pictures in rows and columns, inside the page itself. */

import { type Html, html } from "./html.ts";

/** A PNG file's bytes, and what stands for it where it is not seen. */
export interface Picture {
  readonly png: Uint8Array;
  readonly text: string;
}

export interface PictureRow {
  readonly label: string;
  readonly pictures: readonly Picture[];
}

/** A table of pictures under `heads`; small ones are shown larger, with their pixels as they are. */
export function pictureGrid(caption: string, heads: readonly string[], rows: readonly PictureRow[]): Html {
  const first = html`<th scope="col" class="text"></th>`;
  const columns = heads.map((head) => html`<th scope="col" class="text">${head}</th>`);
  const body = rows.map(
    ({ label, pictures }) =>
      html`<tr><th scope="row" class="text">${label}</th>${pictures.map(
        (each) => html`<td class="picture"><img alt="${each.text}" src="${dataUrl(each.png)}"></td>`,
      )}</tr>\n`,
  );
  return html`<div class="scroll" role="region" aria-label="${caption}" tabindex="0"><table class="pictures">
<caption>${caption}</caption>
<thead><tr>${first}${columns}</tr></thead>
<tbody>
${body}</tbody>
</table></div>\n`;
}

function dataUrl(png: Uint8Array): string {
  return `data:image/png;base64,${Buffer.from(png).toString("base64")}`;
}
