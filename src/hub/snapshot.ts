/** A repository as a folder: from the cache, else downloaded into it. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { HubUnreachable, listRepository } from "./api.ts";
import { cachedCommit, repositoryFolder, snapshotFolder, writeRef } from "./cache.ts";
import { type DownloadProgress, downloadFile } from "./download.ts";
import { type Reference, referenceText } from "./reference.ts";
import { adapterFiles, configFiles, datasetFiles, modelFiles, pipelineConfigs, tokenizerFiles } from "./select.ts";
import type { HubSettings } from "./settings.ts";

export type HubContent = "model" | "config" | "adapter" | "data" | "tokenizer" | "pipeline-config";

export interface SnapshotOptions {
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly onWarning?: (message: string) => void;
}

const CHOICES = {
  model: modelFiles,
  config: configFiles,
  adapter: adapterFiles,
  data: datasetFiles,
  tokenizer: tokenizerFiles,
  "pipeline-config": pipelineConfigs,
} as const;

/**
 * The folder of a repository at its revision, every needed file in it. Offline, and when the hub cannot be reached, what
 * the cache holds. Throws ModelError for what is not there, HubUnreachable without network and cache.
 */
export async function snapshot(
  settings: HubSettings,
  reference: Reference,
  content: HubContent,
  { onProgress = () => {}, onWarning = () => {} }: SnapshotOptions = {},
): Promise<string> {
  const repository = repositoryFolder(settings, reference);
  const name = referenceText(reference);
  const choose = (paths: readonly string[]): string[] => CHOICES[content](within(paths, reference.inside));
  const cached = cachedFolder(repository, reference, choose);
  if (settings.offline) {
    if (cached !== null) return cached;
    throw new ModelError(
      `${name}: no such folder, and not in the cache (${settings.cache}); HF_HUB_OFFLINE forbids to download it. ` +
        "Unset it, or give the path of a folder.",
    );
  }
  // A commit never changes: nothing to ask.
  if (cached !== null && /^[0-9a-f]{40}$/.test(reference.revision)) return cached;
  try {
    const { commit, files } = await listRepository(settings, reference);
    const byPath = new Map(files.map((file) => [file.path, file]));
    const chosen = named(name, () => choose([...byPath.keys()]));
    const target = { settings, reference, commit, repository, onProgress };
    // In the order chosen: weights come last, so that a folder with weights is whole.
    for (const path of chosen) await downloadFile(target, byPath.get(path)!);
    writeRef(repository, reference.revision, commit);
    return join(snapshotFolder(repository, commit), reference.inside);
  } catch (error) {
    if (!(error instanceof HubUnreachable)) throw error;
    if (cached === null)
      throw new HubUnreachable(`${name}: no such folder here, and as a name on the hub: ${error.message}`);
    onWarning(`${error.message} Going on with the copy in the cache.`);
    return cached;
  }
}

/** Those of a folder or file inside the repository. */
function within(paths: readonly string[], inside: string): readonly string[] {
  return inside === "" ? paths : paths.filter((path) => path === inside || path.startsWith(`${inside}/`));
}

/** The cached snapshot of a revision when it has all that is needed; an interrupted download has not. */
function cachedFolder(
  repository: string,
  { revision, inside }: Reference,
  choose: (paths: readonly string[]) => string[],
): string | null {
  const commit = cachedCommit(repository, revision);
  if (commit === null) return null;
  const folder = snapshotFolder(repository, commit);
  if (!existsSync(folder)) return null;
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => path.replaceAll("\\", "/"));
  try {
    choose(files.filter((path) => existsSync(join(folder, path))));
    return join(folder, inside);
  } catch (error) {
    if (error instanceof ModelError) return null;
    throw error;
  }
}

function named<T>(name: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw error instanceof ModelError ? new ModelError(`${name}: ${error.message}`) : error;
  }
}
