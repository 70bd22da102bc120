/** Hub ids among a command's values: each is brought into the cache and replaced by its folder. */

import type { HubContent } from "../hub/snapshot.ts";
import { byteSize } from "../report/format.ts";
import { adapterArguments } from "./adapter-argument.ts";
import type { Output } from "./output.ts";

/** What flags of these names hold, in every command. */
const FLAGS: Readonly<Record<string, HubContent>> = {
  model: "model",
  imageModel: "model",
  base: "model",
  tuned: "model",
  adapter: "adapter",
  initAdapter: "adapter",
  data: "data",
  evalData: "data",
  tokenizer: "tokenizer",
  modelConfig: "pipeline-config",
};
/** What arguments that are no flags hold, by the word that usage texts have for them. */
const ARGUMENTS: Readonly<Record<string, HubContent>> = {
  MODEL: "config",
  ADAPTER: "adapter",
  PATH: "adapter",
  FILE: "data",
};

/** Files whose arrival is worth a line that stays, in bytes. */
const LARGE = 1e6;

interface Given {
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
  /** The command's names of its positionals. */
  readonly names: readonly string[];
}

/** The same values with folders for hub ids. Throws what downloading throws. */
export async function resolveHubNames(
  { values, positionals, names }: Given,
  output: Output,
): Promise<{ values: Record<string, unknown>; positionals: string[] }> {
  const resolve = resolver(output);
  const resolved: Record<string, unknown> = { ...values };
  for (const [name, content] of Object.entries(FLAGS)) {
    const value = values[name];
    if (typeof value === "string") resolved[name] = await resolve(value, content);
    if (name === "adapter" && Array.isArray(value)) resolved[name] = await adapters(value as string[], resolve);
  }
  const paths: string[] = [];
  for (const [i, text] of positionals.entries()) {
    const content = ARGUMENTS[(names[i] ?? names.at(-1) ?? "").replace("…", "")];
    if (content === undefined) paths.push(text);
    else if (content === "adapter" && adapterArguments([text])[0]!.path !== text)
      paths.push(...(await adapters([text], resolve)));
    else paths.push(await resolve(text, content));
  }
  return { values: resolved, positionals: paths };
}

type Resolve = (name: string, content: HubContent) => Promise<string>;

/** `[NAME=]org/name[@revision][@WEIGHT]` with the folder in place of the id; texts without a hub id as they are. */
async function adapters(texts: readonly string[], resolve: Resolve): Promise<string[]> {
  const all: string[] = [];
  for (const text of texts) {
    const { name, path, weight } = adapterArguments([text])[0]!;
    const folder = await resolve(path, "adapter");
    all.push(folder === path ? text : `${name}=${folder}@${weight}`);
  }
  return all;
}

function resolver(output: Output): Resolve {
  return async (name, content) => {
    if (!/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9]/.test(name)) return name; // paths, embedded:NAME: nothing to load
    const [{ hubReference }, { hubSettings }, { snapshot }] = await Promise.all([
      import("../hub/reference.ts"),
      import("../hub/settings.ts"),
      import("../hub/snapshot.ts"),
    ]);
    const reference = hubReference(name, content === "data" ? "datasets" : "models");
    if (reference === null) return name;
    return snapshot(hubSettings(process.env), reference, content, {
      onWarning: (message) => output.note(`Warning: ${message}`),
      onProgress: ({ repository, file, loaded, total }) => {
        const share = total === null ? "" : ` of ${byteSize(total)}`;
        if (loaded === total && total >= LARGE) output.note(`${repository}: ${file}, ${byteSize(total)}`);
        else output.progress(`${repository}: ${file}, ${byteSize(loaded)}${share}`);
      },
    });
  };
}
