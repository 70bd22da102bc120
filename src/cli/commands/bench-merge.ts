/** `lowrank bench merge` */

import { BENCH_FLAGS, megabytes, REPEATS, spreadText } from "../bench-flags.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Time merging adapters into a base, with the check of the result",
  usage: "--model DIR --adapter PATH [--adapter PATH …] [options]",
  flags: {
    ...BENCH_FLAGS,
    adapter: { type: "repeated", value: "PATH", required: true, help: "A PEFT folder; several are merged together" },
    repeats: { ...REPEATS, shown: "3" },
  },
  run: async ({ flags: { adapter, threads = defaultThreads(), ...rest }, output }) => {
    const [{ benchMerge }, { nodeRuntime }] = await Promise.all([
      import("../../bench/merge.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await benchMerge({ ...rest, adapters: adapter, threads }, nodeRuntime);
    output.result(result, () =>
      table([
        ["time", spreadText(result.seconds, "s", 2)],
        ["difference", `${result.maxAbsDiff.toExponential(2)} of a logit at most`],
        ["memory", megabytes(result.peakMemoryBytes)],
      ]),
    );
  },
});

export default command;
