/**
 * Where a model's folder is: a path, one of the bases that ship with the package as `embedded:NAME`, or what is made of a
 * GGUF file.
 */

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ModelError } from "../errors.ts";
import { defaultCacheFolder } from "../files/cache-folder.ts";
import { unpackGguf } from "../gguf/unpack.ts";

const EMBEDDED = "embedded:";

/**
 * The folder of a model that a user names. Throws ModelError for an embedded base that does not exist. `cacheDir` takes
 * what GGUF files are unpacked to; null: ~/.cache/lowrank.
 */
export function locateModel(name: string, cacheDir: string | null = null): string {
  if (name.endsWith(".gguf")) return unpackGguf(name, cacheDir ?? defaultCacheFolder());
  if (!name.startsWith(EMBEDDED)) return name;
  const folder = new URL(`../../embedded/${encodeURIComponent(name.slice(EMBEDDED.length))}/`, import.meta.url);
  if (["config.json", "model_index.json"].some((file) => existsSync(new URL(file, folder))))
    return fileURLToPath(folder).replace(/[\\/]$/, "");
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
