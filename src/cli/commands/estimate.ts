/** `lowrank estimate` */

import type { Estimate } from "../../estimate/estimate.ts";
import { PRECISIONS } from "../../precision/precision.ts";
import { byteSize, count, percent, short } from "../../report/format.ts";
import { TASKS, type Task } from "../../task.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { adapterFields, adapterFlags } from "./train.ts";

const command: Command = defineCommand({
  summary: "Plan a training: trainable parameters, files and memory, before anything is loaded",
  usage: "MODEL [options]",
  arguments: ["MODEL"],
  flags: {
    method: { type: "string", value: "NAME", help: "lora, full, ia3, prompt-tuning, …", shown: "lora" },
    ...adapterFlags,
    task: { type: "string", help: "What would be trained; else what the model is for", choices: TASKS },
    batchSize: { type: "integer", help: "Rows of one pass", shown: "8" },
    length: { type: "integer", help: "Tokens of a row", shown: "512, or what the model takes" },
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS },
    recompute: { type: "boolean", help: "With blocks computed again instead of being kept" },
  },
  notes:
    "MODEL is a folder, a hub id, a config.json, or a published size such as gpt3-175b, gpt2-medium or roberta-large.\n" +
    "Example: lowrank estimate gpt3-175b --r 4 --target-modules q,v",
  run: async ({ flags, arguments: [name], output }) => {
    const [{ sketchModel }, { estimateTraining }, { planConfig, planTask }] = await Promise.all([
      import("../../estimate/sketch.ts"),
      import("../../estimate/estimate.ts"),
      import("../../estimate/plan.ts"),
    ]);
    const { method, task: asked, batchSize = 8, length, precision = "fp32", recompute = false } = flags;
    const model = sketchModel(name!);
    const task = planTask(model, (asked as Task | undefined) ?? null);
    const config = planConfig(model, task, method ?? "lora", adapterFields(flags));
    const longest = Math.min(512, model.config.maxPositions ?? 512);
    const estimate = estimateTraining({
      model,
      task,
      config,
      batchSize,
      length: length ?? longest,
      precision,
      recompute,
    });
    output.result(estimate, () => estimateText(estimate));
  },
});

export default command;

export function estimateText(estimate: Estimate): string {
  const { memory } = estimate;
  const share = estimate.trainableParameters / estimate.totalParameters;
  return [
    table([
      ["model", `${estimate.model}, ${count(estimate.totalParameters)} parameters, for ${estimate.task}`],
      [
        "trainable",
        `${count(estimate.trainableParameters)} (${percent(share)}), ${short(estimate.reduction)} times fewer, with ${estimate.method}`,
      ],
      [
        "files",
        `${byteSize(estimate.checkpointBytes)} the model, ${byteSize(estimate.adapterBytes)} what is trained, in 16 bits`,
      ],
    ]),
    "",
    table(
      [
        ["modules", "how many", "trainable"],
        ...estimate.modules.map((each) => [each.modules, each.count, count(each.parameters)]),
      ],
      "  ",
    ),
    "",
    `Memory for ${estimate.batchSize} rows of ${estimate.length} tokens in ${estimate.precision}:`,
    table(
      [
        ["weights, mapped from the file", byteSize(memory.weights)],
        ["activations at the peak", byteSize(memory.activations)],
        ["trainable values, gradients, AdamW", byteSize(memory.optimizer)],
        ["Node and ONNX Runtime", byteSize(memory.runtime)],
        ["in all", byteSize(memory.total)],
      ],
      "  ",
    ),
  ].join("\n");
}
