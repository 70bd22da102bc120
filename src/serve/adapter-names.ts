/** The folders behind names of adapters that clients give: never outside of their root. */

import { lstatSync, readdirSync, realpathSync, type Stats } from "node:fs";
import { join, sep } from "node:path";
import { ModelError } from "../errors.ts";
import { isAdapterName } from "../generate/set-names.ts";

/** An adapter's folder has a handful of files; checkpoints inside it are passed over. */
const MOST_ENTRIES = 256;

/** The folder `name` of `root`, every link resolved; null when there is none. Throws ModelError for one that is not safe. */
export function folderInside(root: string, name: string): string | null {
  if (!isAdapterName(name)) return null;
  return contained(root, join(root, name), name);
}

/** An absolute or relative path that a client named, if it lies in `root`. Throws as {@link folderInside}. */
export function pathInside(root: string, path: string): string | null {
  return contained(root, path, path);
}

function contained(root: string, path: string, shown: string): string | null {
  if (path.includes("\0")) throw new ModelError(`${JSON.stringify(shown)} is no path.`);
  const real = realPath(path);
  if (real === null) return null;
  const realRoot = realPath(root);
  if (realRoot === null || !real.startsWith(realRoot + sep)) {
    throw new ModelError(`${shown} lies outside of the adapters' folder.`);
  }
  checkFiles(real, shown);
  return real;
}

/** Throws ModelError unless the folder's files are plain ones of its own: no links, devices, or second names of others. */
function checkFiles(folder: string, shown: string, depth = 0): void {
  if (!lstatSync(folder).isDirectory()) throw new ModelError(`${shown} is no folder.`);
  const entries = readdirSync(folder);
  if (entries.length > MOST_ENTRIES) throw new ModelError(`${shown} has ${entries.length} entries: it is no adapter.`);
  for (const entry of entries) {
    const found = lstatSync(join(folder, entry));
    if (found.isDirectory()) {
      // The parts of a composed adapter are one folder down.
      if (depth === 0 && /^\w+$/.test(entry)) checkFiles(join(folder, entry), `${shown}/${entry}`, 1);
    } else if (!found.isFile() || found.nlink !== 1) {
      throw new ModelError(`${shown}/${entry} is ${kindOf(found)}. Copy the file itself.`);
    }
  }
}

function kindOf(found: Stats): string {
  if (found.isSymbolicLink()) return "a link";
  return found.isFile() ? "a second name of another file" : "no plain file";
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
