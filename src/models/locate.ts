/**
 * Where a model's folder is: a path, one of the bases that ship with the package as `embedded:NAME`, or what is made of a
 * GGUF file.
 */

import { defaultCacheFolder } from "../files/cache-folder.ts";
import { locateEmbedded } from "../files/embedded.ts";
import { unpackGguf } from "../gguf/unpack.ts";

/**
 * The folder of a model that a user names. Throws ModelError for an embedded base that does not exist. `cacheDir` takes
 * what GGUF files are unpacked to; null: ~/.cache/lowrank.
 */
export function locateModel(name: string, cacheDir: string | null = null): string {
  if (name.endsWith(".gguf")) return unpackGguf(name, cacheDir ?? defaultCacheFolder());
  return locateEmbedded(name, "base");
}
