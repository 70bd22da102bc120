/** What an adapter was made from, in a file of its own beside PEFT's: base, data, chat template, end token, versions. */

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeJsonAtomic } from "../files/atomic.ts";
import { TASKS, type Task } from "../task.ts";
import { type JsonObject, readJsonObject } from "./json-values.ts";
import type { Tokenizer } from "./tokenizer.ts";

const PROVENANCE_FILE = "lowrank.json";

interface Provenance {
  /** Folder or name, its content's hash, and the hub's id and commit for a base that came from there. */
  readonly base: { readonly name: string; readonly hash: string; readonly id?: string; readonly commit?: string };
  readonly data: { readonly file: string; readonly hash: string; readonly rows: number; readonly format: string };
  readonly evalData: { readonly file: string; readonly hash: string | null; readonly rows: number } | null;
  readonly task: Task;
  /** Names of the classes by index, for tasks that have some. */
  readonly classes: readonly string[] | null;
  /** SHA-256 of the chat template's source; null when the base has none. */
  readonly templateHash: string | null;
  /** Whether the rows went through it. */
  readonly templateUsed: boolean;
  /** The token put behind texts and completions. */
  readonly endId: number | null;
}

/** Writes it into an adapter's folder, with the versions of lowrank and Node. */
export function writeProvenance(folder: string, provenance: Provenance): void {
  const versions = { lowrank: packageVersion(), node: process.version };
  writeJsonAtomic(join(folder, PROVENANCE_FILE), { ...provenance, versions });
}

/** The base that an adapter's folder was trained on; null where it does not tell. */
export function recordedBase(folder: string): Provenance["base"] | null {
  const base = existsSync(join(folder, PROVENANCE_FILE)) && readJsonObject(join(folder, PROVENANCE_FILE))?.["base"];
  const { name, hash } = (base || {}) as { name?: unknown; hash?: unknown };
  return typeof name === "string" && typeof hash === "string" ? (base as Provenance["base"]) : null;
}

/** Task and classes of an adapter's folder, as far as it tells them: PEFT's own files have neither. */
export function recordedTask(folder: string): {
  readonly task: Task | null;
  readonly classes: readonly string[] | null;
} {
  const { task, classes } = readJsonObject(join(folder, PROVENANCE_FILE)) ?? {};
  const named = Array.isArray(classes) && classes.every((name) => typeof name === "string");
  return { task: TASKS.find((each) => each === task) ?? null, classes: named ? (classes as string[]) : null };
}

/** SHA-256 of a chat template, in hexadecimal. */
export function templateHash(template: string | null): string | null {
  return template === null ? null : createHash("sha256").update(template).digest("hex");
}

/**
 * What to tell when an adapter learned with another chat template, or another end token, than the base now has; null when
 * it agrees, or when the folder does not say.
 */
export function templateWarning(folder: string, tokenizer: Tokenizer | null): string | null {
  const path = join(folder, PROVENANCE_FILE);
  if (!existsSync(path)) return null;
  const found: JsonObject = readJsonObject(path) ?? {};
  const now = templateHash(tokenizer?.chatTemplate ?? null);
  if (typeof found["templateHash"] === "string" && found["templateUsed"] === true && found["templateHash"] !== now) {
    return (
      `${folder} was trained with another chat template (${found["templateHash"].slice(0, 12)}) than the base has ` +
      `(${now?.slice(0, 12) ?? "none"}): answers may get worse. Use the base's files of that time, or train again.`
    );
  }
  const end = found["endId"];
  if (typeof end === "number" && tokenizer?.endId != null && end !== tokenizer.endId) {
    return `${folder} was trained with the end token ${end}, the base's is ${tokenizer.endId}: answers may not stop. Use the base's files of that time.`;
  }
  return null;
}

function packageVersion(): string {
  const path = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
