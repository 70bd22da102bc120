/** `lowrank eval` */

import { QUANT_TYPES, type QuantType } from "../../precision/blocks.ts";
import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { TASKS } from "../../task.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Measure loss and metrics on a file",
  usage: "--model DIR --data FILE [--adapter [NAME=]PATH[@WEIGHT] …] [options]",
  flags: {
    model: { type: "string", value: "DIR", required: true, help: "Base: a Hugging Face folder, or embedded:NAME" },
    data: { type: "string", value: "FILE", required: true, help: "Rows, JSONL" },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      help: "A PEFT folder; several are applied as a weighted sum",
    },
    task: {
      type: "string",
      help: "What the rows are for; else the adapter, the model or the rows say",
      choices: TASKS,
    },
    maxLength: { type: "integer", help: "Tokens a row; longer ones are cut on the right" },
    maskPrompt: { type: "boolean", help: "Count the prompt's tokens, too" },
    logits: { type: "string", value: "FILE", help: "Write every row's scores to this safetensors file" },
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS },
    quantType: { type: "string", help: "What --precision int4 holds weights as", choices: QUANT_TYPES },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  defaults: async () => ({
    ...(await import("../../evaluate/run.ts")).EVALUATE_DEFAULTS,
    threads: null,
    adapters: null,
  }),
  run: async ({ flags, output }) => {
    const [{ evaluateHere }, { nodeRuntime }] = await Promise.all([
      import("../../evaluate/run.ts"),
      import("../../runtime/node.ts"),
    ]);
    const { adapter, task, precision, quantType, ...rest } = flags;
    const result = await evaluateHere(
      {
        threads: defaultThreads(),
        cacheDir: cacheFolder(),
        precision: (precision as Precision | undefined) ?? "fp32",
        ...(quantType === undefined ? {} : { quantType: quantType as QuantType }),
        ...rest,
        onWarning: (message) => output.note(`Warning: ${message}`),
        adapters: adapterArguments(adapter),
        task: (task as (typeof TASKS)[number] | undefined) ?? null,
      },
      nodeRuntime,
    );
    output.result(result, () => table(Object.entries(result).map(([name, value]) => [name, String(value)])));
  },
});

export default command;
