/** `lowrank bench generate` */

import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { BENCH_FLAGS, megabytes, REPEATS, spreadText } from "../bench-flags.ts";
import { cacheFolder } from "../cache-folder.ts";
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
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS, shown: "fp32" },
    profile: { type: "boolean", help: "Time the operators of a token too, by type" },
  },
  run: async ({ flags: { adapter, threads = defaultThreads(), precision = "fp32", ...rest }, output }) => {
    const [{ benchGenerate }, { nodeRuntime }] = await Promise.all([
      import("../../bench/generate.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await benchGenerate(
      { ...rest, precision: precision as Precision, adapters: adapter ?? [], threads, cacheDir: cacheFolder() },
      nodeRuntime,
    );
    const operators = (result.profile ?? []).map(({ type, count, milliseconds }) => [
      type,
      String(count),
      milliseconds.toFixed(2),
    ]);
    output.result(result, () =>
      [
        table([
          ["load", `${result.loadSeconds.toFixed(2)} s`],
          ["tokens", `${result.promptTokens} of the prompt, ${result.completionTokens} generated`],
          ["first token", spreadText(result.firstTokenMs, "ms")],
          ["speed", spreadText(result.tokensPerSecond, "tokens/s")],
          ["memory", megabytes(result.peakMemoryBytes)],
        ]),
        ...(operators.length > 0 ? [table([["operators of a token", "count", "ms"], ...operators])] : []),
      ].join("\n\n"),
    );
  },
});

export default command;
