/** Help texts, made from the tables. */

import type { Command } from "./command.ts";
import { COMMON_FLAGS, type Flag, kebab } from "./flags.ts";

export function commandList(commands: Iterable<readonly [string, string]>): string {
  const all = [...commands];
  const width = Math.max(...all.map(([name]) => name.length));
  return [
    "lowrank: fine-tune, evaluate, merge and run LoRA adapters in Node.",
    "",
    "Usage: lowrank COMMAND [options]",
    "",
    "Commands:",
    ...all.map(([name, summary]) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "lowrank COMMAND --help shows a command's options, lowrank --version the version.",
  ].join("\n");
}

export async function commandHelp(name: string, command: Command): Promise<string> {
  const defaults = (await command.defaults?.()) ?? {};
  const lines = (table: Readonly<Record<string, Flag>>): [string, string][] =>
    Object.entries(table).map(([key, flag]) => {
      const negative = flag.type === "boolean" && (defaults[key] === true || flag.shown === "on");
      const head = `--${negative ? "no-" : ""}${kebab(key)}${flag.type === "boolean" ? "" : ` ${placeholder(flag)}`}`;
      return [head, `${flag.help}${defaultText(flag, negative ? undefined : defaults[key])}`];
    });
  const [own, common] = [lines(command.flags), lines(COMMON_FLAGS)];
  const width = Math.max(...[...own, ...common].map(([head]) => head.length));
  const block = (rows: readonly [string, string][]): string[] =>
    rows.map(([head, help]) => `  ${head.padEnd(width)}  ${help}`);
  return [
    `${command.summary}.`,
    "",
    `Usage: lowrank ${name} ${command.usage}`,
    "",
    "Options:",
    ...block(own),
    ...(own.length > 0 ? [""] : []),
    ...block(common),
    ...(command.notes ? ["", command.notes] : []),
  ].join("\n");
}

function placeholder({ type, value, choices }: Flag): string {
  if (choices) return choices.length <= 4 ? choices.join("|") : "NAME";
  const word =
    value ?? { list: "A,B", numbers: "N,N", json: "JSON", number: "N", integer: "N" }[type as string] ?? "TEXT";
  return type === "optional" ? `[${word}]` : word;
}

function defaultText({ required, shown, choices }: Flag, value: unknown): string {
  const names = choices && choices.length > 4 ? `: ${choices.join(", ")}` : "";
  if (required) return `${names} (required)`;
  const known =
    value !== null && value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
  const text = shown ?? (known ? String(value) : "");
  return text === "" || text === "on" ? names : `${names} (${text})`;
}
