/** Figures of many modules as means over those of one kind: all q_proj, all v_proj. */

import { significant } from "./format.ts";

interface OfModule {
  readonly module: string;
  /** What is kept apart beside the kind: the adapter, or a pair of them. */
  readonly among: readonly string[];
}

/** A row for each kind and each of what it stands among: names first, then the means of `values`. */
export function meansByKind<T extends OfModule>(all: readonly T[], values: (each: T) => readonly number[]): string[][] {
  const groups = new Map<string, T[]>();
  for (const each of all) {
    const key = JSON.stringify([kindOf(each.module), ...each.among]);
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  return [...groups].map(([key, members]) => {
    const found = members.map(values);
    const means = found[0]!.map((_, column) => found.reduce((sum, row) => sum + row[column]!, 0) / found.length);
    return [...(JSON.parse(key) as string[]), ...means.map(significant)];
  });
}

/** The module's last name, which it shares with its fellows in other blocks. */
function kindOf(module: string): string {
  return module.slice(module.lastIndexOf(".") + 1);
}
