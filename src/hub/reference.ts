/** Names of repositories: `org/name[@revision]`. */

import { existsSync } from "node:fs";
import { staysInside } from "../files/inside.ts";

export type RepositoryKind = "models" | "datasets";

export interface Reference {
  readonly kind: RepositoryKind;
  readonly id: string;
  /** A branch, tag or commit. */
  readonly revision: string;
  /** A folder inside a data set; "" for all of it. */
  readonly inside: string;
}

const PART = String.raw`[A-Za-z0-9](?:[\w.-]{0,94}[\w])?`;
const REFERENCE = new RegExp(String.raw`^(${PART}/${PART})((?:/[\w.-]+)*)(?:@([\w][\w./-]{0,199}))?$`);

/**
 * Reads a name as a hub id; a data set's may go on with a folder in it (`nyu-mll/glue/mrpc`). Null when it cannot
 * be one, or when a file or folder of that name exists: paths win, so a folder `org/name` below the current one is itself.
 */
export function hubReference(name: string, kind: RepositoryKind = "models"): Reference | null {
  const match = REFERENCE.exec(name);
  if (
    !match ||
    existsSync(name) ||
    /\.(gguf|safetensors|jsonl?|csv|tsv|parquet|gz|ya?ml)$/i.test(name.replace(/@.*$/, ""))
  )
    return null;
  const inside = match[2]!.slice(1);
  if (inside !== "" && (kind === "models" || !staysInside(inside))) return null;
  const revision = match[3] ?? "main";
  if (/--|\.\./.test(match[1]!) || revision.split("/").some((part) => part === "" || /^\.{1,2}$/.test(part)))
    return null;
  return { kind, id: match[1]!, revision, inside };
}

/** As a user wrote it. */
export function referenceText({ id, revision, inside }: Reference): string {
  const name = inside === "" ? id : `${id}/${inside}`;
  return revision === "main" ? name : `${name}@${revision}`;
}
