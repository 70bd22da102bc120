/** `lowrank bench train` */

import type { BenchTrain } from "../../bench/train.ts";
import { QUANT_TYPES } from "../../precision/blocks.ts";
import { PRECISIONS } from "../../precision/precision.ts";
import { PREPACKS, RECOMPUTES } from "../../train/memory-options.ts";
import { BENCH_FLAGS, megabytes, spreadText } from "../bench-flags.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";
import { adapterFields, adapterFlags } from "./train.ts";

const command: Command = defineCommand({
  summary: "Time training steps on a model: tokens a second, memory, the first step, and where the time goes",
  usage: "--model DIR [--data FILE] [options]",
  flags: {
    ...BENCH_FLAGS,
    data: { type: "string", value: "FILE", help: "Training rows (rows of random tokens)" },
    tokens: { type: "integer", help: "Tokens of a random row", shown: "128" },
    steps: { type: "integer", help: "Steps to time, after a first one", shown: "8" },
    batchSize: { type: "integer", help: "Rows of a step", shown: "4" },
    method: { type: "string", value: "NAME", help: "lora, full, ia3, prompt-tuning, …", shown: "lora" },
    ...adapterFlags,
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS, shown: "fp32" },
    quantType: { type: "string", help: "What --precision int4 holds weights as (int4)", choices: QUANT_TYPES },
    recompute: {
      type: "string",
      help: "Compute blocks again in the backward pass",
      choices: RECOMPUTES,
      shown: "auto",
    },
    prepack: {
      type: "string",
      help: "Hold the base's matrices rearranged",
      choices: PREPACKS,
      shown: "auto",
    },
    profile: { type: "boolean", help: "Time operators too, by kind, beside this machine's peak" },
  },
  notes: "Example: lowrank bench train --model embedded:NAME --precision int8 --profile",
  run: async ({ flags, output }) => {
    const [{ benchTrain }, { nodeRuntime }] = await Promise.all([
      import("../../bench/train.ts"),
      import("../../runtime/node.ts"),
    ]);
    const {
      model,
      data,
      tokens,
      steps,
      batchSize,
      method,
      precision,
      quantType,
      recompute,
      prepack,
      profile,
      threads,
    } = flags;
    const given = { data, tokens, steps, batchSize, method, precision, quantType, recompute, prepack, profile };
    const asked = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const result = await benchTrain(
      {
        ...asked,
        model: String(model),
        adapterFields: adapterFields(flags),
        threads: Number(threads ?? defaultThreads()),
        cacheDir: cacheFolder(),
      },
      nodeRuntime,
    );
    output.result(result, () => textOf(result));
  },
});

export default command;

function textOf({ tokensPerSecond, stepMs, firstStepSeconds, peakMemoryBytes, loss, profile }: BenchTrain): string {
  const rows = [
    ["speed", spreadText(tokensPerSecond, "tokens/s", 0)],
    ["step", spreadText(stepMs, "ms", 0)],
    ["first step", `${firstStepSeconds.toFixed(2)} s after the process began`],
    ["memory", megabytes(peakMemoryBytes)],
    ["loss", loss.toFixed(4)],
  ];
  if (!profile) return table(rows);
  const { groups, peak } = profile;
  const speed = (gigaOps: number | null): string => (gigaOps === null ? "" : gigaOps.toFixed(0));
  const lines = groups.map(({ group, milliseconds, share, gigaOps }) => [
    group,
    milliseconds.toFixed(1),
    `${(100 * share).toFixed(0)} %`,
    speed(gigaOps),
  ]);
  return [
    table(rows),
    table([["operators of a step", "ms", "share", "10⁹ operations/s of products"], ...lines]),
    `Peak of one product here: ${peak.fp32.toFixed(0)} in float32, ${peak.int8.toFixed(0)} in bytes (10⁹ operations/s).`,
  ].join("\n\n");
}
