/** HTML that is escaped by default: text becomes markup only inside a template of this repository. */

import { STYLE } from "./style.ts";

const markup: unique symbol = Symbol("markup");

/** Markup made by `html`; nothing that was read from a file or said by a model can pass for it. */
export interface Html {
  readonly [markup]: string;
}

/** What a template takes: text and numbers are escaped, markup stands as it is, lists are joined, null is nothing. */
export type Content = Html | string | number | null | readonly Content[];

/** Markup of a template whose values are escaped. Values stand in text or inside a double-quoted attribute. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Html {
  return { [markup]: parts.reduce((done, part, i) => done + render(values[i - 1] ?? null) + part) };
}

/** `text` for HTML text and quoted attributes. Control characters and lone surrogates become U+FFFD. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll("\r\n", "\n")
    .replace(/[\p{Cc}\p{Cs}]/gu, (c) => (c === "\n" || c === "\t" ? c : "\ufffd"))
    .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function render(content: Content): string {
  if (content === null) return "";
  if (typeof content === "string" || typeof content === "number") return escapeHtml(String(content));
  return isList(content) ? content.map(render).join("") : content[markup];
}

function isList(content: Html | readonly Content[]): content is readonly Content[] {
  return Array.isArray(content);
}

/** A page that runs scripts of the server which it came from, and talks to it alone. */
export interface LivePage {
  /** Paths of its modules. */
  readonly scripts: readonly string[];
  /** Beside the style of every report; of this repository, as it takes no escapes. */
  readonly style: string;
}

/** Markup alone, for a part of a live page. */
export function fragment(body: Html): string {
  return body[markup];
}

/** A whole document: one column, its style inside, and a policy under which browsers load and run nothing, unless `live`. */
export function page(title: string, body: Content, live: LivePage = { scripts: [], style: "" }): string {
  const style: Html = { [markup]: STYLE + live.style }; // a style element takes no escapes
  const allowed =
    live.scripts.length > 0 ? "; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'" : "";
  const images = live.scripts.length > 0 ? "data: 'self'" : "data:";
  const policy: Html = { [markup]: `default-src 'none'; style-src 'unsafe-inline'; img-src ${images}${allowed}` };
  const scripts = live.scripts.map((path) => html`<script type="module" src="${path}"></script>\n`);
  const document = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${style}</style>
${scripts}</head>
<body>
<main>
${body}
</main>
</body>
</html>
`;
  return document[markup];
}

/** A part of the page under its heading; nothing when `body` is null. */
export function section(heading: string, body: Content): Html | null {
  return body === null ? null : html`<section>\n<h2>${heading}</h2>\n${body}\n</section>\n`;
}

/** Something drawn, under its caption; `legend` and `note` may be null. */
export function figure(
  caption: string,
  drawing: Content,
  { legend = null, note = null }: { legend?: Content; note?: Content } = {},
): Html {
  const aside = note === null ? null : html` <span class="note">${note}</span>`;
  return html`<figure>\n<figcaption><strong>${caption}</strong>${aside}</figcaption>\n${legend}${drawing}</figure>\n`;
}

/** Lines that one copies, in a fixed-width face; they wrap between words, so that no flag parts at its hyphens. */
export function commandBlock(command: string): Html {
  const words = command.split(/(\s+)/).map((word) => (/\S/.test(word) ? html`<span>${word}</span>` : word));
  return html`<pre><code>${words}</code></pre>\n`;
}
