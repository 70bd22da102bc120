/** `lowrank bench switch` */

import { BENCH_FLAGS, REPEATS, spreadText } from "../bench-flags.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Time the first token with the same adapter as before, and with another",
  usage: "--model DIR --adapter PATH [--adapter PATH …] [options]",
  flags: {
    ...BENCH_FLAGS,
    adapter: {
      type: "repeated",
      value: "PATH",
      required: true,
      help: "A PEFT folder; one alone takes turns with none",
    },
    prompt: { type: "string", value: "TEXT", help: "Text of every request (a sentence)" },
    repeats: { ...REPEATS, shown: "10" },
  },
  run: async ({ flags: { adapter, threads = defaultThreads(), ...rest }, output }) => {
    const [{ benchSwitch }, { nodeRuntime }] = await Promise.all([
      import("../../bench/generate.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await benchSwitch({ ...rest, adapters: adapter, threads }, nodeRuntime);
    output.result(result, () =>
      table([
        ["same adapter", spreadText(result.sameMs, "ms to the first token")],
        ["another adapter", spreadText(result.switchedMs, "ms to the first token")],
      ]),
    );
  },
});

export default command;
