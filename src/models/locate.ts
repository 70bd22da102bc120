/** Where a model's folder is: a path, or one of the bases that ship with the package as `embedded:NAME`. */

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.ts";

const EMBEDDED = "embedded:";

/** The folder of a model that a user names. Throws ModelError for an embedded base that does not exist. */
export function locateModel(name: string): string {
  if (!name.startsWith(EMBEDDED)) return name;
  const folder = new URL(`../../embedded/${encodeURIComponent(name.slice(EMBEDDED.length))}/`, import.meta.url);
  if (existsSync(new URL("config.json", folder))) return fileURLToPath(folder).replace(/[\\/]$/, "");
  throw new ModelError(
    `${name}: no such embedded base. There are ${embeddedModels()
      .map((each) => EMBEDDED + each)
      .join(", ")}.`,
  );
}

/** Names of the bases that ship with the package. */
export function embeddedModels(): string[] {
  const folder = new URL("../../embedded/", import.meta.url);
  return existsSync(folder) ? readdirSync(folder).toSorted() : [];
}
