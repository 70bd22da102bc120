/** What a command is: a table of flags and a function. */

import type { FlagsOf, FlagTable } from "./flags.ts";
import type { Output } from "./output.ts";

export interface Command<T extends FlagTable = FlagTable> {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the command's name: "--model DIR --data FILE --out DIR [options]". */
  readonly usage: string;
  readonly flags: T;
  /** Names of the arguments that are no flags, all of them required; a last one that ends in "…" may be several. */
  readonly arguments?: readonly string[];
  /** True for long work, which prints NDJSON events with --json. */
  readonly events?: boolean;
  /** Defaults by flag, for help. */
  defaults?(): Promise<Readonly<Record<string, unknown>>>;
  /** True where hub ids are only written down, and nothing is downloaded. */
  readonly keepsIds?: boolean;
  /** More lines of help: rules and an example. */
  readonly notes?: string;
  /** Does the work; the number is the exit code, nothing is 0. Errors are thrown. */
  run(call: Call<T>): Promise<number | undefined>;
}

/** The commands by name, as those see them that tell of others. */
export type Commands = ReadonlyMap<string, { readonly summary: string; load(): Promise<Command> }>;

export interface Call<T extends FlagTable = FlagTable> {
  readonly flags: FlagsOf<T>;
  readonly arguments: readonly string[];
  readonly output: Output;
  readonly commands: Commands;
}

/** Types a command's `run` by its own table; callers, who read flags by that table, need not know it. */
export function defineCommand<const T extends FlagTable>(command: Command<T>): Command {
  return command as unknown as Command;
}
