/** A folder as a repository of the hub, in one commit. The transfer is @huggingface/hub's, an optional peer. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LowrankError, ModelError, messageOf, UsageError } from "../errors.ts";
import type { HubSettings } from "./settings.ts";

export interface UploadOptions {
  /** "org/name" */
  readonly id: string;
  readonly folder: string;
  /** Files of the folder, by name. */
  readonly files: readonly string[];
  /** Further files, by name. */
  readonly texts: Readonly<Record<string, string>>;
  readonly message: string;
  readonly isPrivate: boolean;
}

export interface Uploaded {
  readonly url: string;
  readonly commit: string;
  readonly files: readonly string[];
}

/** Makes the repository unless it exists, and commits the files. Throws UsageError without a token, ModelError when the hub refuses. */
export async function uploadFolder(settings: HubSettings, options: UploadOptions): Promise<Uploaded> {
  const { endpoint: hubUrl, token } = settings;
  const { id, folder, files, texts, message, isPrivate } = options;
  if (settings.offline) throw new UsageError("HF_HUB_OFFLINE forbids to upload. Unset it.");
  if (token === null) throw new UsageError("Uploading needs a token with write access: set HF_TOKEN.");
  const { createRepo, uploadFiles } = await loadPeer();
  const common = { repo: { type: "model", name: id }, accessToken: token, hubUrl } as const;
  const contents = [
    ...files.map((path) => ({ path, content: new Blob([readFileSync(join(folder, path))]) })),
    ...Object.entries(texts).map(([path, text]) => ({ path, content: new Blob([text]) })),
  ];
  try {
    try {
      await createRepo({ ...common, visibility: isPrivate ? "private" : "public" });
    } catch (error) {
      if ((error as { statusCode?: unknown }).statusCode !== 409) throw error; // it exists: a new commit of it
    }
    const output = await uploadFiles({ ...common, files: contents, commitTitle: message, useXet: false });
    return {
      url: `${hubUrl}/${id}`,
      commit: output?.commit.oid ?? "",
      files: contents.map(({ path }) => path).toSorted((a, b) => (a < b ? -1 : 1)),
    };
  } catch (error) {
    if (error instanceof LowrankError) throw error;
    const status = (error as { statusCode?: unknown }).statusCode;
    const step =
      status === 401 || status === 403
        ? `The token has no write access to ${id}: choose another repository or token.`
        : "Check the network, HF_ENDPOINT and the name, and run the command again: a commit is whole or not at all.";
    throw new ModelError(`${id}: the hub refused the upload (${messageOf(error)}). ${step}`);
  }
}

async function loadPeer(): Promise<typeof import("@huggingface/hub")> {
  try {
    return await import("@huggingface/hub");
  } catch {
    throw new UsageError("Uploading needs the package @huggingface/hub: npm install @huggingface/hub");
  }
}
