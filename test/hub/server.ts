/** A hub on this machine that answers as huggingface.co does: listings, files with their headers, large ones elsewhere. */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakeRepository {
  /** Content by path. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Token that is needed. */
  readonly token?: string;
}

/** What an upload left: the commit's title, and content by path. */
export interface FakeCommit {
  readonly repository: string;
  readonly title: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export interface FakeHub {
  /** Uploads in order. */
  readonly commits: FakeCommit[];
  /** Repositories made, with whether they are private. */
  readonly created: Record<string, boolean>;
  readonly endpoint: string;
  /** "GET path" of every request, in order. */
  readonly requests: string[];
  /** Authorization headers that reached the place of large files. */
  readonly leaked: string[];
  /** Connections to cut after so many bytes of a file, by its path. */
  readonly cuts: Map<string, number[]>;
  /** Content that is served in place of the true one, by its path. */
  readonly forged: Map<string, Uint8Array>;
  /** Whether listings tell sizes and hashes. */
  blobs: boolean;
  close(): Promise<void>;
}

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Repositories by "models/org/name" or "datasets/org/name". Files of more than 1000 bytes are large ones. */
export async function startHub(repositories: Readonly<Record<string, FakeRepository>>): Promise<FakeHub> {
  const server = createServer();
  const elsewhere = createServer(); // another origin, where large files lie
  await Promise.all([listening(server), listening(elsewhere)]);
  const hub: FakeHub = {
    endpoint: address(server),
    requests: [],
    commits: [],
    created: {},
    leaked: [],
    cuts: new Map(),
    forged: new Map(),
    blobs: true,
    close: async () => {
      for (const each of [server, elsewhere]) {
        each.closeAllConnections();
        await new Promise((resolve) => each.close(resolve));
      }
    },
  };
  const send = (path: string, content: Uint8Array, request: IncomingMessage, response: ServerResponse): void => {
    const bytes = hub.forged.get(path) ?? content;
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(from > 0 ? 206 : 200, { "content-length": bytes.length - from });
    if (request.method === "HEAD") return void response.end();
    const cut = hub.cuts.get(path)?.shift();
    if (cut === undefined) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, from + cut), () => setTimeout(() => response.destroy(), 20));
  };
  const stored = new Map<string, Uint8Array>(); // large files by SHA-256
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url!, hub.endpoint);
    hub.requests.push(`${request.method} ${url.pathname}`);
    if (request.method === "POST")
      return void receive(request, response, url.pathname, hub, address(elsewhere), stored);
    const listing = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(url.pathname);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const key = listing ? `${listing[1]}/${listing[2]}` : file ? `${file[1] ?? "models/"}${file[2]}` : "";
    const repository = repositories[key];
    const revision = listing?.[3] ?? file?.[3];
    if (!repository || (revision !== "main" && revision !== COMMIT)) return void response.writeHead(404).end();
    if (repository.token && request.headers.authorization !== `Bearer ${repository.token}`)
      return void response.writeHead(401).end();
    if (listing) {
      const siblings = Object.entries(repository.files).map(([path, content]) => sibling(path, content, hub.blobs));
      return void response.setHeader("content-type", "application/json").end(JSON.stringify({ sha: COMMIT, siblings }));
    }
    const path = decodeURIComponent(file![4]!);
    const content = repository.files[path];
    if (!content) return void response.writeHead(404).end();
    if (content.length <= 1000) {
      response.setHeader("etag", `"${gitHash(content)}"`);
      return send(path, content, request, response);
    }
    response.writeHead(302, {
      location: `${address(elsewhere)}/${key}/${path}`,
      "x-linked-etag": `"${sha256(content)}"`,
      "x-linked-size": content.length,
    });
    response.end();
  });
  elsewhere.on("request", (request: IncomingMessage, response: ServerResponse) => {
    if (request.headers.authorization) hub.leaked.push(request.headers.authorization);
    if (request.method === "PUT") {
      void bodyOf(request).then((body) => {
        stored.set(request.url!.slice(1), body);
        response.setHeader("etag", "x").end();
      });
      return;
    }
    const [, kind, owner, name, ...path] = decodeURIComponent(request.url!).split("/");
    send(path.join("/"), repositories[`${kind}/${owner}/${name}`]!.files[path.join("/")]!, request, response);
  });
  return hub;
}

function sibling(path: string, content: Uint8Array, blobs: boolean): object {
  if (!blobs) return { rfilename: path };
  const large = content.length > 1000;
  return {
    rfilename: path,
    size: content.length,
    blobId: gitHash(content),
    ...(large ? { lfs: { sha256: sha256(content), size: content.length } } : {}),
  };
}

export function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function gitHash(content: Uint8Array): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

function listening(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve());
  });
}

function address(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The requests of an upload, as @huggingface/hub makes them: create, preupload, LFS batch, commit. */
async function receive(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  hub: FakeHub,
  store: string,
  stored: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  const text = new TextDecoder().decode(await bodyOf(request));
  const answer = (value: object): void => {
    response.setHeader("content-type", "application/json").end(JSON.stringify(value));
  };
  if (request.headers.authorization !== "Bearer hf_write") return void response.writeHead(403).end("{}");
  if (path === "/api/repos/create") {
    const { name, organization, visibility } = JSON.parse(text) as Record<string, unknown>;
    const id = organization ? `${organization}/${name}` : String(name);
    if (id in hub.created) return void response.writeHead(409).end("{}");
    hub.created[id] = visibility === "private";
    return answer({ url: `${hub.endpoint}/${id}` });
  }
  if (path.includes("/preupload/")) {
    const { files } = JSON.parse(text) as { files: { path: string; size: number }[] };
    return answer({
      files: files.map((file) => ({ path: file.path, uploadMode: file.size > 1000 ? "lfs" : "regular" })),
    });
  }
  if (path.endsWith("/info/lfs/objects/batch")) {
    const { objects } = JSON.parse(text) as { objects: { oid: string; size: number }[] };
    const actions = (oid: string): object => ({ upload: { href: `${store}/${oid}`, header: {} } });
    return answer({
      transfer: "basic",
      objects: objects.map((object) => ({ ...object, actions: actions(object.oid) })),
    });
  }
  const lines = text.split("\n").map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
  const files = new Map<string, Uint8Array>();
  for (const { key, value } of lines) {
    if (key === "file") files.set(value["path"]!, Buffer.from(value["content"]!, "base64"));
    if (key === "lfsFile") files.set(value["path"]!, stored.get(value["oid"]!)!);
  }
  const title = lines.find(({ key }) => key === "header")!.value["summary"]!;
  hub.commits.push({ repository: /^\/api\/models\/(.+)\/commit\//.exec(path)![1]!, title, files });
  answer({ commitOid: COMMIT, commitUrl: hub.endpoint, hookOutput: "" });
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}
