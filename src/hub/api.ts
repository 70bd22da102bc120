/**
 * Requests to the hub. Source of paths and headers: huggingface_hub `hf_api.py` (repo_info), `file_download.py`
 * (get_hf_file_metadata), `utils/_http.py` (hf_raise_for_status).
 */

import { LowrankError, ModelError } from "../errors.ts";
import { staysInside } from "../files/inside.ts";
import { type Reference, referenceText } from "./reference.ts";
import type { HubSettings } from "./settings.ts";

/** A file of a repository at one commit. */
export interface HubFile {
  /** Relative path with slashes. */
  readonly path: string;
  /** Null where the hub does not say. */
  readonly size: number | null;
  /** What the content hashes to; null where the hub does not say. */
  readonly hash: ContentHash | null;
  /** What the cache calls the content; null where the hub does not say. */
  readonly etag: string | null;
}

/** SHA-256 of the bytes, or Git's SHA-1 of them as a blob. */
export interface ContentHash {
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

export interface RepositoryListing {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** The network failed, so that a cached copy may serve instead. */
export class HubUnreachable extends LowrankError {}

/** What the repository holds at a revision. Throws HubUnreachable without a network, ModelError for what is not there. */
export async function listRepository(settings: HubSettings, reference: Reference): Promise<RepositoryListing> {
  const { kind, id, revision } = reference;
  const url = `${settings.endpoint}/api/${kind}/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await request(settings, url, {});
  if (!response.ok) throw refusal(settings, reference, response, null);
  const body = (await response.json()) as { sha?: unknown; siblings?: unknown };
  const commit = body.sha;
  if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit) || !Array.isArray(body.siblings)) {
    throw new ModelError(`${url}: the answer names no commit and files. Check HF_ENDPOINT: is it a Hugging Face hub?`);
  }
  return { commit, files: body.siblings.map((sibling) => hubFile(sibling, url)) };
}

function hubFile(sibling: unknown, url: string): HubFile {
  const { rfilename, size, blobId, lfs } = sibling as {
    rfilename?: unknown;
    size?: unknown;
    blobId?: unknown;
    lfs?: { sha256?: unknown; size?: unknown } | null;
  };
  if (typeof rfilename !== "string" || !staysInside(rfilename)) {
    throw new ModelError(
      `${url}: it lists the file ${JSON.stringify(rfilename)}, which would leave its folder. Do not use it.`,
    );
  }
  const sha256 = lfs?.sha256;
  const large = typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256);
  const small = typeof blobId === "string" && /^[0-9a-f]{40}$/.test(blobId);
  const hash: ContentHash | null = large
    ? { algorithm: "sha256", hex: sha256 }
    : small && !lfs
      ? { algorithm: "git-sha1", hex: blobId }
      : null;
  const bytes = lfs?.size ?? size;
  return { path: rfilename, size: typeof bytes === "number" ? bytes : null, hash, etag: hash?.hex ?? null };
}

/** Size and etag of a file that the listing did not tell them of. */
export async function fileFacts(
  settings: HubSettings,
  reference: Reference,
  commit: string,
  file: HubFile,
): Promise<HubFile> {
  if (file.etag !== null && file.size !== null) return file;
  let url = fileUrl(settings, reference, commit, file.path);
  for (let hops = 0; hops < 5; hops++) {
    const response = await request(settings, url, { method: "HEAD", redirect: "manual" });
    const location = response.headers.get("location");
    const linked = response.headers.get("x-linked-etag");
    // A renamed repository answers with a relative address; a large file's content lies elsewhere, its facts are here.
    if (response.status >= 300 && response.status < 400 && location?.startsWith("/") && !linked) {
      url = settings.endpoint + location;
      continue;
    }
    if (response.status >= 400) throw refusal(settings, reference, response, file.path);
    const etag = (linked ?? response.headers.get("etag"))?.replace(/^W\//, "").replaceAll('"', "") ?? null;
    const size = response.headers.get("x-linked-size") ?? (location ? null : response.headers.get("content-length"));
    const sha256 = etag !== null && /^[0-9a-f]{64}$/.test(etag);
    return {
      ...file,
      size: file.size ?? (size === null ? null : Number(size)),
      etag: file.etag ?? (etag !== null && /^[\w.-]{1,128}$/.test(etag) ? etag : null),
      hash: file.hash ?? (sha256 ? { algorithm: "sha256", hex: etag } : null),
    };
  }
  throw new ModelError(`${url}: too many redirections. Check HF_ENDPOINT.`);
}

/** Opens a file from byte `from`; `partial` says whether the server went along. */
export async function openFile(
  settings: HubSettings,
  reference: Reference,
  commit: string,
  { path }: HubFile,
  from: number,
): Promise<{ readonly body: AsyncIterable<Uint8Array>; readonly partial: boolean }> {
  const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
  const response = await request(settings, fileUrl(settings, reference, commit, path), { headers });
  if (response.status === 416) return { body: nothing(), partial: true };
  if (!response.ok || response.body === null) throw refusal(settings, reference, response, path);
  return { body: response.body as AsyncIterable<Uint8Array>, partial: response.status === 206 };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function fileUrl({ endpoint }: HubSettings, { kind, id }: Reference, commit: string, path: string): string {
  const name = path.split("/").map(encodeURIComponent).join("/");
  return `${endpoint}/${kind === "datasets" ? "datasets/" : ""}${id}/resolve/${commit}/${name}`;
}

async function request(settings: HubSettings, url: string, init: RequestInit): Promise<Response> {
  const authorization = settings.token === null ? {} : { authorization: `Bearer ${settings.token}` };
  try {
    return await fetch(url, { ...init, headers: { "user-agent": "lowrank", ...authorization, ...init.headers } });
  } catch (error) {
    throw unreachable(url, error);
  }
}

/** The error of a connection that failed or broke off. */
export function unreachable(url: string, error: unknown): HubUnreachable {
  const { message, cause } = error as Error;
  const why = cause instanceof Error && cause.message ? cause.message : message;
  return new HubUnreachable(
    `${url}: no answer (${why}). Check the network and HF_ENDPOINT, or give the path of a folder.`,
    { cause: error },
  );
}

function refusal(settings: HubSettings, reference: Reference, { status }: Response, path: string | null): LowrankError {
  const name = referenceText(reference);
  const where = `${settings.endpoint}/${reference.kind === "datasets" ? "datasets/" : ""}${reference.id}`;
  if (status === 401 || status === 403) {
    const step = settings.token === null ? "Set HF_TOKEN" : "Ask for access with this token's account";
    return new ModelError(
      `${name}: the hub refuses access (${status}): it is private, gated, or does not exist. ${step}, and accept its terms at ${where}.`,
    );
  }
  if (status === 404) {
    const what =
      path === null
        ? "no such folder here, and no such repository or revision on the hub"
        : `no file ${path} on the hub`;
    return new ModelError(`${name}: ${what} (${where}). Check the name, and the revision after @.`);
  }
  if (status === 429 || status >= 500) {
    return new HubUnreachable(`${name}: the hub answers ${status}. Try again later: what was downloaded is kept.`);
  }
  return new ModelError(`${name}: the hub answers ${status}${path === null ? "" : ` for ${path}`}. Check the name.`);
}
