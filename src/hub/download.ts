/** One file of a repository into the cache: resumed where it broke off, checked against its hash, then named. */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FormatError } from "../errors.ts";
import { ioError } from "../files/io-error.ts";
import { type ContentHash, fileFacts, type HubFile, HubUnreachable, openFile, unreachable } from "./api.ts";
import { linkBlob, snapshotFolder } from "./cache.ts";
import type { Reference } from "./reference.ts";
import type { HubSettings } from "./settings.ts";

/** Bytes of a file that have come, of those there are; null where the hub does not say. */
export interface DownloadProgress {
  readonly repository: string;
  readonly file: string;
  readonly loaded: number;
  readonly total: number | null;
}

export interface Target {
  readonly settings: HubSettings;
  readonly reference: Reference;
  readonly commit: string;
  /** The repository's folder in the cache. */
  readonly repository: string;
  readonly onProgress: (progress: DownloadProgress) => void;
}

/** Times that a broken connection is taken up again before the error is shown. */
const RETRIES = 4;

/** Brings the file into the snapshot of `commit`, unless it is there. Throws HubUnreachable, or FormatError for a wrong hash. */
export async function downloadFile(target: Target, listed: HubFile): Promise<void> {
  const { settings, reference, commit, repository } = target;
  const path = join(snapshotFolder(repository, commit), ...listed.path.split("/"));
  if (existsSync(path)) return;
  const file = await fileFacts(settings, reference, commit, listed);
  const name = file.etag ?? createHash("sha256").update(`${commit}/${file.path}`).digest("hex");
  const blob = join(repository, "blobs", name);
  if (!existsSync(blob)) await downloadBlob(target, file, blob);
  linkBlob(blob, path);
}

async function downloadBlob(target: Target, file: HubFile, blob: string): Promise<void> {
  const part = `${blob}.incomplete`;
  mkdirSync(dirname(blob), { recursive: true });
  for (let attempt = 0; ; attempt++) {
    try {
      await fetchInto(target, file, part);
      break;
    } catch (error) {
      if (!(error instanceof HubUnreachable) || attempt >= RETRIES) throw error;
      await sleep(100 * 4 ** attempt);
    }
  }
  await check(file, part, `${target.reference.id}/${file.path}`);
  // Another process may have finished the same content meanwhile.
  if (existsSync(part)) renameSync(part, blob);
}

/** Appends what is missing of the file. Writers of the same content at the same places do not harm each other. */
async function fetchInto(target: Target, file: HubFile, part: string): Promise<void> {
  const { settings, reference, commit, onProgress } = target;
  const tell = (loaded: number): void =>
    onProgress({ repository: reference.id, file: file.path, loaded, total: file.size });
  let loaded = statSync(part, { throwIfNoEntry: false })?.size ?? 0;
  if (file.size !== null && loaded > file.size) loaded = 0;
  if (file.size !== null && loaded === file.size && loaded > 0) return tell(loaded);
  const { body, partial } = await openFile(settings, reference, commit, file, loaded);
  if (!partial) loaded = 0;
  const handle = await open(part, existsSync(part) ? "r+" : "w").catch((error: unknown) => {
    throw ioError("write", part, error);
  });
  try {
    await handle.truncate(loaded);
    tell(loaded);
    for await (const chunk of chunksOf(body, file.path)) {
      if (file.size !== null && loaded + chunk.byteLength > file.size) {
        throw new FormatError(
          `${reference.id}/${file.path}: the hub sends more than the ${file.size} bytes it announced.`,
        );
      }
      await handle.write(chunk, 0, chunk.byteLength, loaded).catch((error: unknown) => {
        throw ioError("write", part, error);
      });
      loaded += chunk.byteLength;
      tell(loaded);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (file.size !== null && loaded < file.size) {
    throw unreachable(`${reference.id}/${file.path}`, new Error(`it broke off after ${loaded} of ${file.size} bytes`));
  }
}

/** The body's chunks; a connection that breaks is a HubUnreachable, and what came is kept. */
async function* chunksOf(body: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw unreachable(name, error);
  }
}

async function check({ hash, path, size }: HubFile, part: string, name: string): Promise<void> {
  if (hash === null) return;
  const found = await hashOf(part, hash.algorithm, size ?? statSync(part).size);
  if (found === hash.hex) return;
  rmSync(part, { force: true });
  throw new FormatError(
    `${name}: what came hashes to ${found.slice(0, 12)}…, the hub says ${hash.hex.slice(0, 12)}…. It is thrown away: ` +
      `run the command again, and distrust the source if ${path} fails again.`,
  );
}

async function hashOf(path: string, algorithm: ContentHash["algorithm"], size: number): Promise<string> {
  const hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
  if (algorithm === "git-sha1") hash.update(`blob ${size}\0`);
  const handle = await open(path, "r");
  try {
    for await (const chunk of handle.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
  } finally {
    await handle.close();
  }
  return hash.digest("hex");
}
