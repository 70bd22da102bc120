/** `lowrank merge` */

import { GGUF_TYPES, type GgufType } from "../../gguf/export.ts";
import { QUANT_TYPES, type QuantType } from "../../precision/blocks.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Write a model with adapters merged into it",
  usage: "--model DIR --adapter [NAME=]PATH[@WEIGHT] … --out DIR [options]",
  flags: {
    model: {
      type: "string",
      value: "DIR",
      required: true,
      help: "Base: a Hugging Face folder, a .gguf file, or embedded:NAME",
    },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      required: true,
      help: "A PEFT folder; several are merged as a weighted sum",
    },
    out: { type: "string", value: "DIR", required: true, help: "Folder for the merged model, or a file FILE.gguf" },
    dtype: {
      type: "string",
      help: "Type of the written weights (the checkpoint's own); q8_0 with FILE.gguf",
      choices: GGUF_TYPES,
    },
    precision: {
      type: "string",
      help: "int4 merges into what four bits stand for, for adapters trained so (fp32)",
      choices: ["fp32", "int4"],
    },
    quantType: { type: "string", help: "What --precision int4 holds weights as (int4)", choices: QUANT_TYPES },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags: { model, adapter, out, dtype, threads = defaultThreads(), precision, quantType }, output }) => {
    const [{ mergeHere }, { nodeRuntime }] = await Promise.all([
      import("../../merge/merge.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await mergeHere(
      {
        model,
        adapters: adapterArguments(adapter),
        out,
        dtype: (dtype as GgufType | undefined) ?? null,
        threads,
        cacheDir: cacheFolder(),
        ...(precision === undefined ? {} : { precision: precision as "fp32" | "int4" }),
        ...(quantType === undefined ? {} : { quantType: quantType as QuantType }),
        onWarning: (message) => output.note(`Warning: ${message}`),
      },
      nodeRuntime,
    );
    output.result(
      result,
      () =>
        `Merged into ${result.out} (${result.dtype}). Largest difference of a logit: ${result.maxAbsDiff.toExponential(2)}.`,
    );
  },
});

export default command;
