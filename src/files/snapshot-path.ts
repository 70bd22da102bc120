/**
 * Hugging Face's cache names its folders by repository and commit: `models--ORG--NAME/snapshots/COMMIT`.
 * Source of the layout: huggingface_hub `file_download.py` (repo_folder_name), guides/manage-cache.
 */

import { basename, dirname, resolve } from "node:path";

export interface SnapshotName {
  /** "org/name", or "name" for the few repositories without an owner. */
  readonly id: string;
  /** The commit, in hexadecimal. */
  readonly commit: string;
}

/** The repository and commit of a folder that is a snapshot of the cache; null for any other folder. */
export function snapshotName(folder: string): SnapshotName | null {
  const path = resolve(folder);
  const [snapshots, repository] = [dirname(path), dirname(dirname(path))];
  if (basename(snapshots) !== "snapshots") return null;
  const [kind, ...parts] = basename(repository).split("--");
  if (!/^(models|datasets)$/.test(kind!) || parts.length === 0) return null;
  return { id: parts.join("/"), commit: basename(path) };
}

/** What to call a model or adapter by its folder: the repository's name, or the last path segment. */
export function folderName(folder: string): string {
  const snapshot = snapshotName(folder);
  return snapshot ? snapshot.id.slice(snapshot.id.lastIndexOf("/") + 1) : basename(resolve(folder));
}
