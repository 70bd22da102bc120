/** What may follow on the command line: for the shells' completion. */

import type { Commands } from "./command.ts";
import { COMMON_FLAGS, type FlagTable, kebab } from "./flags.ts";

/** Candidates for the last of `words`, those behind `lowrank`; none where files are meant, which shells know best. */
export async function candidates(words: readonly string[], commands: Commands): Promise<string[]> {
  const last = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const name = [2, 1].map((count) => before.slice(0, count).join(" ")).find((each) => commands.has(each));
  if (name === undefined) {
    const typed = before.length === 0 ? "" : `${before.join(" ")} `;
    const next = [...commands.keys()]
      .filter((each) => each.startsWith(typed))
      .map((each) => each.slice(typed.length).split(" ")[0]!);
    return matching([...new Set(next)], last);
  }
  const { flags, defaults } = await commands.get(name)!.load();
  const table: FlagTable = { ...flags, ...COMMON_FLAGS };
  const previous = Object.entries(table).find(([key]) => `--${kebab(key)}` === before.at(-1))?.[1];
  if (previous?.choices) return matching(previous.choices, last);
  if (previous && previous.type !== "boolean" && !last.startsWith("-")) return [];
  const on = (await defaults?.()) ?? {};
  return matching(
    Object.entries(table).map(([key, flag]) =>
      flag.type === "boolean" && (on[key] === true || flag.shown === "on") ? `--no-${kebab(key)}` : `--${kebab(key)}`,
    ),
    last,
  );
}

function matching(words: readonly string[], start: string): string[] {
  return words.filter((word) => word.startsWith(start));
}
