/** A check that HTML is well nested: every element closed in its turn, every attribute quoted, no stray markup. */

const VOID = new Set(["meta", "link", "br", "hr", "img"]);

/** What is wrong with the document, empty when nothing is. */
export function nestingErrors(document: string): string[] {
  const errors: string[] = [];
  const open: string[] = [];
  const source = document.replace(/^<!doctype html>\n/, "").replace(/<style>[^<]*<\/style>/, "");
  for (const [tag] of source.matchAll(/<[^>]*>/g)) {
    const match = /^<(\/?)([a-z][a-z0-9]*)((?: [a-zA-Z-]+="[^"<]*")*)(\/?)>$/.exec(tag);
    if (match === null) {
      errors.push(`not a tag: ${tag}`);
      continue;
    }
    const [, closing, name = "", , selfClosing] = match;
    if (closing === "/") {
      const last = open.pop();
      if (last !== name) errors.push(`</${name}> closes <${last ?? "nothing"}>`);
    } else if (selfClosing !== "/" && !VOID.has(name)) {
      open.push(name);
    }
  }
  if (/[<>]/.test(source.replace(/<[^>]*>/g, ""))) errors.push("a bare < or >");
  if (/&(?!#\d+;)/.test(source)) errors.push("a bare &");
  return open.length === 0 ? errors : [...errors, `left open: ${open.join(" ")}`];
}

/** The text that a reader sees, with breakable spaces. */
export function textOf(document: string): string {
  return document
    .replace(/<style>[^<]*<\/style>/, "")
    .replace(/<[^>]*>/g, " ")
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
    .replace(/\s+/g, " ");
}
