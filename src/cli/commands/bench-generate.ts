/** `lowrank bench generate` */

import { BENCH_FLAGS, megabytes, REPEATS, spreadText } from "../bench-flags.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Time generation: loading, first token, tokens a second",
  usage: "--model DIR [--adapter PATH …] [options]",
  flags: {
    ...BENCH_FLAGS,
    adapter: { type: "repeated", value: "PATH", help: "A PEFT folder; several are applied together" },
    prompt: { type: "string", value: "TEXT", help: "Text to go on from (a sentence)" },
    maxTokens: { type: "integer", help: "Tokens to generate", shown: "64" },
    repeats: { ...REPEATS, shown: "5" },
  },
  run: async ({ flags: { adapter, threads = defaultThreads(), ...rest }, output }) => {
    const [{ benchGenerate }, { nodeRuntime }] = await Promise.all([
      import("../../bench/generate.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await benchGenerate({ ...rest, adapters: adapter ?? [], threads }, nodeRuntime);
    output.result(result, () =>
      table([
        ["load", `${result.loadSeconds.toFixed(2)} s`],
        ["tokens", `${result.promptTokens} of the prompt, ${result.completionTokens} generated`],
        ["first token", spreadText(result.firstTokenMs, "ms")],
        ["speed", spreadText(result.tokensPerSecond, "tokens/s")],
        ["memory", megabytes(result.peakMemoryBytes)],
      ]),
    );
  },
});

export default command;
