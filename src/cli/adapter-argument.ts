/** `--adapter [NAME=]PATH[@WEIGHT]`. */

import { existsSync } from "node:fs";
import { UsageError } from "../errors.ts";
import { locateEmbedded } from "../files/embedded.ts";
import { folderName } from "../files/snapshot-path.ts";

export interface AdapterArgument {
  readonly name: string;
  readonly path: string;
  readonly weight: number;
}

/** Reads the uses of `--adapter`. Throws UsageError when two have one name. */
export function adapterArguments(texts: readonly string[] = []): AdapterArgument[] {
  const all = texts.map(adapterArgument);
  all.forEach(({ name }, i) => {
    if (all.findIndex((each) => each.name === name) < i) {
      throw new UsageError(`--adapter: two adapters are called ${name}. Name one of them: --adapter OTHER=PATH.`);
    }
  });
  return all;
}

function adapterArgument(text: string): AdapterArgument {
  // A path that exists is taken as it stands, whatever it holds.
  if (existsSync(text)) return { name: folderName(text), path: text, weight: 1 };
  const at = text.lastIndexOf("@");
  const number = at < 0 ? "" : text.slice(at + 1);
  const weighted = number.trim() !== "" && Number.isFinite(Number(number));
  const whole = weighted ? text.slice(0, at) : text;
  const equals = existsSync(whole) ? -1 : whole.indexOf("=");
  const path = locateEmbedded(whole.slice(equals + 1), "adapter");
  const named = existsSync(path) ? path : path.replace(/(?<=.)@[^@]*$/, ""); // a hub id's revision is no part of its name
  const name = equals < 0 ? folderName(named) : whole.slice(0, equals);
  if (path === "" || name === "") throw new UsageError(`--adapter: found ${text}, needed [NAME=]PATH[@WEIGHT].`);
  return { name, path, weight: weighted ? Number(number) : 1 };
}
