/** The page that draws pictures, and the parts of it that the server draws: adapters with their sliders, the gallery. */

import { IMAGE_DEFAULTS } from "../diffusion/generate.ts";
import { type Html, html, page } from "../report/html.ts";
import { LIVE_STYLE, siteLinks } from "./frame.ts";
import type { GalleryPicture, ShownFacts } from "./gallery.ts";
import type { FoundAdapter } from "./image-adapters.ts";

/** Largest weight of a slider. */
export const MOST_WEIGHT = 1.5;
/** Sides up to this are drawn with their pixels as squares. */
const SMALL = 128;

const STYLE = `
.adapters, .gallery { list-style: none; margin: 0; padding: 0; }
.adapters li { border-bottom: 1px solid var(--rule); padding: 10px 0; }
.adapters label { display: flex; justify-content: space-between; gap: 12px; font-weight: 500; overflow-wrap: anywhere; }
.adapters output { font-variant-numeric: tabular-nums; font-weight: 400; color: var(--muted); }
.adapters input { width: 100%; margin: 6px 0; accent-color: var(--c1); }
.adapters input:disabled { opacity: .4; }
button.word { font-size: .8125rem; font-weight: 400; color: var(--c1); background: var(--panel); border: 1px solid var(--rule); padding: 1px 8px; margin: 0 4px 4px 0; }
#stage { display: grid; grid-template-columns: minmax(0, 320px) minmax(0, 1fr); gap: 24px; align-items: end; margin: 24px 0 0; }
#stage img { display: block; width: 100%; border-radius: 4px; background: var(--panel); }
#stage .frame { aspect-ratio: 1; background: var(--panel); border: 1px solid var(--rule); border-radius: 4px; overflow: hidden; display: grid; align-content: center; }
#stage .frame:not(:has(img)) { border-style: dashed; }
#stage progress { width: 100%; accent-color: var(--c1); margin: 0 0 8px; }
img.small { image-rendering: pixelated; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 24px 20px; }
.gallery img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--panel); outline: 1px solid var(--rule); outline-offset: -1px; }
.gallery p { font-size: .8125rem; margin: 8px 0 0; overflow-wrap: anywhere; }
.gallery .about { margin: 2px 0 6px; }
button.plain { color: var(--c1); background: none; border: 0; padding: 0; font-size: .8125rem; font-weight: 500; text-decoration: underline; }
form label.wide { display: grid; gap: 6px; font-size: .875rem; color: var(--muted); }
form label.wide > * { font-size: 1rem; }
form .row button.second { color: var(--ink); background: var(--panel); border: 1px solid var(--rule); font-weight: 500; }
@media screen and (max-width: 720px) { #stage { grid-template-columns: minmax(0, 1fr); } }
`;

/**
 * `model` is the pipeline's name, `problem` why it cannot be opened; `token` goes back with every request that does
 * something.
 */
export function imagePage(token: string, model: string, problem: string | null): string {
  return page(
    "lowrank: images",
    html`<nav data-token="${token}">${siteLinks("/images")}<h2>Adapters</h2>
<p class="note">At 0 an adapter is left out.</p>
<div id="adapters"></div></nav>
<article>
<header><p class="kind">Images</p>
<h1>${model}</h1>
${problem === null ? null : html`<p class="warning">${problem}</p>`}</header>
<section id="draw">
<form>
<label class="wide">Prompt <textarea id="prompt" name="prompt" required maxlength="4000"></textarea></label>
<label class="wide">Negative prompt <input type="text" name="negativePrompt" maxlength="4000"></label>
<div class="row">
<label>Seed <input type="number" name="seed" value="0" min="0" max="4294967295" required></label>
<label>Steps <input type="number" name="steps" value="${IMAGE_DEFAULTS.steps}" min="1" max="200" required></label>
<label>Guidance <input type="number" name="guidance" value="${IMAGE_DEFAULTS.guidance}" min="0" max="30" step="0.5" required></label>
</div>
<div class="row">
<button type="submit">Draw</button>
<button type="button" class="second" id="another">Draw with another seed</button>
<button type="button" class="second" id="cancel" disabled>Cancel</button>
<label><input type="checkbox" name="live"> draw again as sliders move</label>
</div>
</form>
<div id="stage"><div class="frame" id="frame"></div>
<div><progress id="progress" max="1" value="0" hidden></progress>
<p class="note" id="note" role="status">Pictures are drawn on this machine, one at a time.</p></div></div>
</section>
<section>
<h2>Gallery</h2>
<div id="gallery"></div>
</section>
</article>`,
    { scripts: ["/image-client.js"], style: LIVE_STYLE + STYLE },
  );
}

/** A slider an adapter; `width` is that of the text that the pipeline's UNet reads. */
export function adapterList(adapters: readonly FoundAdapter[], width: number): Html {
  if (adapters.length === 0) {
    return html`<p class="note">No LoRA files for images here yet. <code>lowrank image train --out runs/mine …</code> makes one.</p>\n`;
  }
  const items = adapters.map(({ id, step, header }, i) => {
    const { textWidth, r, triggers, baseModel } = header;
    const foreign = textWidth !== null && textWidth !== width;
    const about = [
      ...(foreign ? [`of another base: its text is ${textWidth} wide, this model's ${width}`] : []),
      `${header.type}${r === null ? "" : `, rank ${r}`}`,
      ...(step === null ? [] : [`step ${step} so far`]),
      ...(baseModel === null ? [] : [baseModel]),
    ].join("; ");
    const name = `weight-${i}`;
    const slider = foreign
      ? html`<input type="range" id="${name}" name="${id}" min="0" max="${MOST_WEIGHT}" step="0.05" value="0" disabled>`
      : html`<input type="range" id="${name}" name="${id}" min="0" max="${MOST_WEIGHT}" step="0.05" value="0">`;
    const words = foreign
      ? []
      : triggers
          .slice(0, 3)
          .map((word) => html`<button type="button" class="word" data-word="${word}">${word}</button>`);
    return html`<li><label for="${name}">${id} <output for="${name}">0</output></label>
${slider}
${words}<span class="about">${about}</span></li>\n`;
  });
  return html`<ul class="adapters">\n${items}</ul>\n`;
}

export function galleryView(pictures: readonly GalleryPicture[]): Html {
  if (pictures.length === 0) return html`<p class="note">What is drawn here is kept here, with its settings.</p>\n`;
  return html`<ul class="gallery">\n${pictures.map(galleryItem)}</ul>\n`;
}

function galleryItem({ name, facts }: GalleryPicture): Html {
  const path = `/images/files/${encodeURIComponent(name)}`;
  if (facts === null) {
    return html`<li><a href="${path}"><img src="${path}" alt="${name}" loading="lazy"></a><p>${name}</p><span class="about">without settings</span></li>\n`;
  }
  const { prompt, negativePrompt, width, height } = facts;
  const size = Math.max(width, height) <= SMALL ? "small" : "";
  const negative = negativePrompt ? html`<span class="about">not: ${negativePrompt}</span>` : null;
  return html`<li><a href="${path}"><img class="${size}" src="${path}" alt="${prompt}" width="${width}" height="${height}" loading="lazy"></a>
<p>${prompt}</p>${negative}
<span class="about">${settingsOf(facts)}</span>
<button type="button" class="plain" data-settings="${JSON.stringify(facts)}">Use these settings</button></li>\n`;
}

/** "seed 7, 20 steps, guidance 5; ink 0.8" */
function settingsOf({ seed, steps, guidance, adapters }: ShownFacts): string {
  const weights = adapters.map(({ name, unet, text }) => `${name} ${unet}${text === unet ? "" : ` (text ${text})`}`);
  return [`seed ${seed}, ${steps} steps, guidance ${guidance}`, ...weights].join("; ");
}
