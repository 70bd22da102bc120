/** What ships with the package under `embedded/`, by the name that users give: `embedded:NAME`. */

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.ts";

/** Bases, and adapters of them: each kind's place, and the files that tell one of it. */
const KINDS = {
  base: { place: "../../embedded/", files: ["config.json", "model_index.json"] },
  adapter: { place: "../../embedded/adapters/", files: ["adapter_config.json"] },
} as const;

const PREFIX = "embedded:";

export type EmbeddedKind = keyof typeof KINDS;

/** The folder behind `embedded:NAME`, and any other name as it is. Throws ModelError for a name that does not ship. */
export function locateEmbedded(name: string, kind: EmbeddedKind): string {
  if (!name.startsWith(PREFIX)) return name;
  const { place } = KINDS[kind];
  const folder = new URL(`${place}${encodeURIComponent(embeddedName(name))}/`, import.meta.url);
  if (isEmbedded(folder, kind)) return fileURLToPath(folder).replace(/[\\/]$/, "");
  const known = embeddedNames(kind).map((each) => PREFIX + each);
  throw new ModelError(`${name}: no such embedded ${kind}. There are ${known.join(", ")}.`);
}

/** Names of what ships of a kind. */
export function embeddedNames(kind: EmbeddedKind): string[] {
  const folder = new URL(KINDS[kind].place, import.meta.url);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => isEmbedded(new URL(`${name}/`, folder), kind))
    .toSorted();
}

/** The name without `embedded:`. */
export function embeddedName(name: string): string {
  return name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
}

function isEmbedded(folder: URL, kind: EmbeddedKind): boolean {
  return KINDS[kind].files.some((file) => existsSync(new URL(file, folder)));
}
