/** From arguments to an exit code: finds the command, reads its flags, reports what it throws. */

import { LowrankError, messageOf, UsageError } from "../errors.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { readConfigFile } from "./config-file.ts";
import { COMMON_FLAGS, demandFlags, type FlagTable, readConfigValues, readFlags, suggestion } from "./flags.ts";
import { commandHelp, commandList } from "./help.ts";
import { resolveHubNames } from "./hub-flags.ts";
import { createOutput, type Output, type Streams } from "./output.ts";
import { packageVersion } from "./version.ts";

export async function run(args: readonly string[], streams: Streams): Promise<number> {
  const json = args.includes("--json");
  const output = createOutput(json, streams);
  const state = { events: false };
  try {
    return await dispatch(args, output, state);
  } catch (error) {
    return report(error, output, { events: state.events, debug: args.includes("--debug") });
  }
}

async function dispatch(args: readonly string[], output: Output, state: { events: boolean }): Promise<number> {
  const [first, second] = args;
  if (first === "--version" || first === "-v") {
    const version = packageVersion();
    output.result({ version }, () => version);
    return 0;
  }
  if (first === undefined || first === "--help" || first === "-h" || (first === "help" && second === undefined)) {
    output.line(commandList([...COMMANDS].map(([name, { summary }]) => [name, summary])));
    return first === undefined ? 2 : 0;
  }
  if (first === "completion" && second === "--words") {
    const { candidates } = await import("./complete.ts");
    const words = await candidates(args.slice(2), COMMANDS);
    if (words.length > 0) output.line(words.join("\n"));
    return 0;
  }
  const asked = first === "help" ? [...args.slice(1), "--help"] : args;
  const [name, rest] = findCommand(asked);
  const command = await COMMANDS.get(name)!.load();
  state.events = command.events ?? false;
  if (rest.includes("--help") || rest.includes("-h")) {
    output.line(await commandHelp(name, command));
    return 0;
  }
  return (await call(name, command, rest, output)) ?? 0;
}

async function call(
  name: string,
  command: Command,
  args: readonly string[],
  output: Output,
): Promise<number | undefined> {
  const table: FlagTable = { ...command.flags, ...COMMON_FLAGS };
  const { values, positionals } = readFlags(args, table);
  const config = values["config"];
  const merged =
    typeof config === "string"
      ? { ...readConfigValues(await readConfigFile(config), command.flags, config), ...values }
      : values;
  const wanted = command.arguments ?? [];
  const several = wanted.at(-1)?.endsWith("…") === true && positionals.length > wanted.length;
  if (positionals.length !== wanted.length && !several) {
    const found = positionals.length === 0 ? "none" : positionals.join(" ");
    throw new UsageError(
      wanted.length === 0
        ? `lowrank ${name} takes options only, found ${found}. See lowrank ${name} --help.`
        : `lowrank ${name} needs ${wanted.join(" ")}, found ${found}. See lowrank ${name} --help.`,
    );
  }
  demandFlags(merged, command.flags, name);
  const given = { values: merged, positionals, names: wanted };
  const local = command.keepsIds ? given : await resolveHubNames(given, output);
  return command.run({ flags: local.values as never, arguments: local.positionals, output, commands: COMMANDS });
}

/** The longest name of one or two words that the arguments begin with. */
function findCommand(args: readonly string[]): [string, readonly string[]] {
  for (const words of [2, 1]) {
    const name = args.slice(0, words).join(" ");
    if (COMMANDS.has(name)) return [name, args.slice(words)];
  }
  const names = [...COMMANDS.keys()];
  const family = names.filter((name) => name.startsWith(`${args[0]} `));
  if (family.length > 0) throw new UsageError(`lowrank ${args[0]} needs a verb: ${family.join(", ")}.`);
  const first = args[0]!;
  throw new UsageError(
    `${first} is no command.${suggestion(first, names) || ` There are ${names.join(", ")}.`} See lowrank --help.`,
  );
}

function report(error: unknown, output: Output, { events, debug }: { events: boolean; debug: boolean }): number {
  const known = error instanceof LowrankError;
  const message = known ? error.message : `internal error: ${messageOf(error)}. Please report it; --debug shows where.`;
  if (output.json) output.result(events ? { event: "error", message } : { error: message }, () => "");
  output.note(`lowrank: ${message}`);
  if (debug && error instanceof Error) output.note(String(error.stack));
  return known ? error.exitCode : 1;
}
