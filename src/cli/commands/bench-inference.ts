/** `lowrank bench inference` */

import type { RatioInterval } from "../../bench/spread.ts";
import { BENCH_FLAGS, REPEATS, spreadText } from "../bench-flags.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Time a forward pass of the base, of base + adapter and of the merged model, in turns",
  usage: "--model DIR --adapter PATH [--adapter PATH …] [options]",
  flags: {
    ...BENCH_FLAGS,
    adapter: { type: "repeated", value: "PATH", required: true, help: "A PEFT folder; several are applied together" },
    rows: { type: "integer", help: "Rows of a pass", shown: "4" },
    tokens: { type: "integer", help: "Tokens of each row", shown: "64" },
    repeats: { ...REPEATS, shown: "15" },
  },
  run: async ({ flags: { adapter, threads = defaultThreads(), ...rest }, output }) => {
    const [{ benchInference }, { nodeRuntime }] = await Promise.all([
      import("../../bench/inference.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await benchInference({ ...rest, adapters: adapter, threads }, nodeRuntime);
    const { base, unmerged, merged, unmergedOverBase, mergedOverBase } = result;
    output.result(result, () =>
      table([
        ["base", base ? spreadText(base, "ms") : "has no head for this task"],
        ["base + adapter", spreadText(unmerged, "ms") + ratioText(unmergedOverBase)],
        ["merged", merged ? spreadText(merged, "ms") + ratioText(mergedOverBase) : "cannot be merged"],
      ]),
    );
  },
});

export default command;

function ratioText(interval: RatioInterval | null): string {
  if (interval === null) return "";
  const { ratio, from, to } = interval;
  return `, ${ratio.toFixed(3)} of the base's (95 %: ${from.toFixed(3)} to ${to.toFixed(3)})`;
}
