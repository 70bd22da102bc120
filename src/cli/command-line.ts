/** What was typed. */

/** This command as one could type it. */
export function commandLine(args: readonly string[] = process.argv.slice(2)): string {
  const quoted = args.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`));
  return `lowrank ${quoted.join(" ")}`;
}
