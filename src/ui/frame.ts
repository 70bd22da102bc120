/** What the pages have in common: their style, and the links between them. */

import { type Html, html } from "../report/html.ts";

/** Beside the style of every report. */
export const LIVE_STYLE: string = `
main { max-width: none; display: grid; grid-template-columns: 300px minmax(0, 960px); gap: 0 40px; padding: 0 24px 72px; justify-content: start; }
nav { border-right: 1px solid var(--rule); padding: 28px 20px 28px 0; min-height: 100vh; }
nav h2 { font-size: 1rem; }
article { padding-top: 28px; min-width: 0; }
.runs { list-style: none; margin: 0; padding: 0; }
.runs li { border-bottom: 1px solid var(--rule); }
.runs label { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: 0 8px; align-items: baseline; padding: 9px 0; cursor: pointer; }
.runs .name { overflow-wrap: anywhere; font-weight: 500; }
.runs .about { grid-column: 2 / -1; }
.site { display: flex; gap: 20px; margin: 0 0 24px; padding: 0; list-style: none; }
.site a { color: var(--muted); text-decoration: none; }
.site a[aria-current] { color: var(--ink); font-weight: 550; }
.state { font-size: .8125rem; color: var(--muted); }
.state.running { color: var(--c3); }
.state.failed { color: var(--c2); }
form { display: grid; gap: 12px; max-width: 44em; }
textarea, input:is([type="number"], [type="text"]) { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--rule); border-radius: 4px; padding: 8px 10px; width: 100%; }
textarea { min-height: 5.5em; resize: vertical; }
form .row { display: flex; flex-wrap: wrap; gap: 12px 20px; align-items: center; }
form .row label { display: flex; gap: 8px; align-items: center; font-size: .875rem; color: var(--muted); }
form .row input[type="number"] { width: 6.5em; }
button { font: inherit; font-weight: 550; color: var(--ground); background: var(--c1); border: 0; border-radius: 4px; padding: 8px 18px; cursor: pointer; }
button[disabled] { opacity: .5; cursor: default; }
a { color: var(--c1); }
:focus-visible { outline: 2px solid var(--c1); outline-offset: 2px; }
#answers { margin-top: 20px; }
@media screen and (max-width: 860px) {
  main { grid-template-columns: minmax(0, 1fr); padding: 0 16px 48px; }
  nav { border-right: 0; border-bottom: 1px solid var(--rule); min-height: 0; padding: 20px 0; }
}
`;

const PAGES = [
  ["/", "Runs"],
  ["/images", "Images"],
] as const;

/** Links to all pages; `here` is the path of this one. */
export function siteLinks(here: (typeof PAGES)[number][0]): Html {
  const links = PAGES.map(([path, name]) =>
    path === here
      ? html`<li><a href="${path}" aria-current="page">${name}</a></li>`
      : html`<li><a href="${path}">${name}</a></li>`,
  );
  return html`<ul class="site">${links}</ul>\n`;
}
