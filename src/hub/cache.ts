/** The cache's folders: blobs by content, snapshots of links to them by commit, refs from branch to commit. */

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { writeFileAtomic } from "../files/atomic.ts";
import type { Reference } from "./reference.ts";
import type { HubSettings } from "./settings.ts";

export function repositoryFolder({ cache }: HubSettings, { kind, id }: Reference): string {
  return join(cache, `${kind}--${id.replaceAll("/", "--")}`);
}

export function snapshotFolder(repository: string, commit: string): string {
  return join(repository, "snapshots", commit);
}

/** The commit that the cache last saw this revision at; null when it never did. */
export function cachedCommit(repository: string, revision: string): string | null {
  const ref = join(repository, "refs", revision);
  if (existsSync(ref) && statSync(ref).isFile()) return readFileSync(ref, "utf8").trim() || null;
  if (existsSync(snapshotFolder(repository, revision))) return revision;
  if (!/^[0-9a-f]{7,39}$/.test(revision) || !existsSync(join(repository, "snapshots"))) return null;
  const found = readdirSync(join(repository, "snapshots")).filter((name) => name.startsWith(revision));
  return found.length === 1 ? found[0]! : null;
}

/** Notes which commit a branch or tag stands at. */
export function writeRef(repository: string, revision: string, commit: string): void {
  if (revision === commit) return;
  const path = join(repository, "refs", revision);
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path) || readFileSync(path, "utf8") !== commit)
    writeFileAtomic(path, new TextEncoder().encode(commit));
}

/** Puts a blob into a snapshot under its name: a relative link, or a copy where the system has none. */
export function linkBlob(blob: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  try {
    symlinkSync(relative(dirname(path), blob), path);
  } catch {
    copyFileSync(blob, path);
  }
}
