/** What commands of long work share: Ctrl-C, and how to go on. */

import { commandLine } from "./command-line.ts";
import type { Output } from "./output.ts";

/** The first Ctrl-C asks the run to stop, the second ends the process. */
export function onInterrupt(output: Output, stop: () => void): { remove(): void } {
  let asked = false;
  const handle = (): void => {
    if (asked) process.exit(130);
    asked = true;
    output.note("Finishing this step, then saving a checkpoint. Again to quit at once.");
    stop();
  };
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.on(signal, handle);
  return {
    remove: () => {
      for (const signal of signals) process.off(signal, handle);
    },
  };
}

/** This command again, with --resume. */
export function resumeCommand(): string {
  const args = process.argv.slice(2).filter((arg, i, all) => {
    const value = all[i - 1] === "--resume" && !arg.startsWith("-");
    return !value && arg !== "--resume" && !arg.startsWith("--resume=");
  });
  return commandLine([...args, "--resume"]);
}
