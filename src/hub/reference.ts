/** Names of repositories: `org/name[@revision]`. */

import { existsSync } from "node:fs";

export type RepositoryKind = "models" | "datasets";

export interface Reference {
  readonly kind: RepositoryKind;
  readonly id: string;
  /** A branch, tag or commit. */
  readonly revision: string;
}

const PART = String.raw`[A-Za-z0-9](?:[\w.-]{0,94}[\w])?`;
const REFERENCE = new RegExp(String.raw`^(${PART}/${PART})(?:@([\w][\w./-]{0,199}))?$`);

/**
 * Reads a name as a hub id. Null when it cannot be one, or when a file or folder of that name exists: paths win, so a
 * folder `org/name` below the current one is itself.
 */
export function hubReference(name: string, kind: RepositoryKind = "models"): Reference | null {
  const match = REFERENCE.exec(name);
  if (!match || existsSync(name) || /\.(gguf|safetensors|jsonl?|csv|tsv|parquet|gz|ya?ml)$/i.test(match[1]!))
    return null;
  const revision = match[2] ?? "main";
  if (/--|\.\./.test(match[1]!) || revision.split("/").some((part) => part === "" || /^\.{1,2}$/.test(part)))
    return null;
  return { kind, id: match[1]!, revision };
}

/** As a user wrote it. */
export function referenceText({ id, revision }: Reference): string {
  return revision === "main" ? id : `${id}@${revision}`;
}
