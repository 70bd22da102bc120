/** What commands of long work share: events as they come, Ctrl-C, the page at the end, and how to go on. */

import { commandLine } from "./command-line.ts";
import type { Output } from "./output.ts";

/** What every run's events have that are looked at here. */
interface RunEvent {
  readonly event: string;
  readonly message?: unknown;
  readonly out?: unknown;
  readonly step?: unknown;
  readonly path?: unknown;
}

interface Followed<E extends RunEvent> {
  readonly run: AsyncIterable<E> & { readonly stop: () => void };
  readonly output: Output;
  /** Shows an event to people; warnings and checkpoints are shown here, for all runs alike. */
  readonly progress: (event: E) => void;
  /** Writes the page of the run in `out`, whose events these are; gives its path. */
  readonly writePage: (out: string, events: readonly E[]) => Promise<string>;
}

/** Follows a run to its end; gives the exit code: 130 when it was interrupted, after saving. */
export async function followRun<E extends RunEvent>(followed: Followed<E>): Promise<number> {
  const { run, output, progress, writePage } = followed;
  const interrupt = onInterrupt(output, run.stop);
  const events: E[] = [];
  let code = 0;
  try {
    for await (const event of run) {
      events.push(event);
      output.event(event);
      if (event.event === "warning") noteWarning(output, event);
      if (!output.json) {
        progress(event);
        if (event.event === "checkpoint") output.line(`step ${event.step}: saved ${event.path}`);
      }
      if (event.event === "done") {
        const path = await writePage(String(event.out), events);
        if (!output.json) output.line(`Curves and facts of the run: ${path}`);
      }
      if (event.event === "interrupted") {
        output.note(`Stopped after step ${event.step}, saved in ${event.path}. Go on with:\n  ${resumeCommand()}`);
        code = 130;
      }
    }
  } finally {
    interrupt.remove();
  }
  return code;
}

export function noteWarning(output: Output, { message }: Pick<RunEvent, "message">): void {
  output.note(`Warning: ${message}`);
}

/** The first Ctrl-C asks the run to stop, the second ends the process. */
function onInterrupt(output: Output, stop: () => void): { remove(): void } {
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
function resumeCommand(): string {
  const args = process.argv.slice(2).filter((arg, i, all) => {
    const value = all[i - 1] === "--resume" && !arg.startsWith("-");
    return !value && arg !== "--resume" && !arg.startsWith("--resume=");
  });
  return commandLine([...args, "--resume"]);
}
