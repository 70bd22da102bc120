/** `lowrank train` */

import { QUANT_TYPES } from "../../precision/blocks.ts";
import { PRECISIONS } from "../../precision/precision.ts";
import { PACKINGS } from "../../program/layout.ts";
import { DEVICES } from "../../runtime/session.ts";
import { TASKS } from "../../task.ts";
import type { TrainEvent } from "../../train/events.ts";
import { PREPACKS, RECOMPUTES } from "../../train/memory-options.ts";
import type { TrainInput } from "../../train/options.ts";
import { PREFERENCE_LOSSES } from "../../train/preference.ts";
import { SCHEDULERS } from "../../train/schedule.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Call, type Command, defineCommand } from "../command.ts";
import { commandLine } from "../command-line.ts";
import { type FlagsOf, type FlagTable, kebab } from "../flags.ts";
import { followRun, noteWarning } from "../long-run.ts";
import { defaultThreads } from "../threads.ts";
import { planTable, trainProgress } from "../train-progress.ts";

/** Fields of the adapter's configuration: the flag's name, and PEFT's. */
const ADAPTER_FLAGS = {
  r: { type: "integer", help: "Rank of LoRA's matrices (8)" },
  alpha: { type: "number", help: "LoRA's scale: updates count alpha / r (8)" },
  dropout: { type: "number", help: "Share of a branch's inputs dropped in training (0)" },
  targetModules: {
    type: "list",
    help: "Modules to adapt: names or their ends, all-linear, or one regular expression (by architecture)",
  },
  excludeModules: { type: "list", help: "Modules to leave out, named in the same way" },
  layersToTransform: { type: "numbers", help: "Numbers of the blocks to adapt (all)" },
  layersPattern: { type: "list", help: "Name of the list of blocks, where it is an unusual one" },
  rankPattern: { type: "json", help: "Ranks by module pattern: '{\"c_proj\": 4}'" },
  alphaPattern: { type: "json", help: "Alphas by module pattern" },
  useRslora: { type: "boolean", help: "Scale by alpha / sqrt(r) (rsLoRA)" },
  useDora: { type: "boolean", help: "Train magnitudes beside directions (DoRA)" },
  init: {
    type: "string",
    value: "NAME",
    help: "Initial values of LoRA: true (Kaiming and zero), gaussian, eva, pissa, false, … (true)",
  },
  bias: { type: "string", help: "Biases to train", choices: ["none", "all", "lora_only"], shown: "none" },
  modulesToSave: { type: "list", help: "Modules to train whole and save with the adapter" },
  trainableTokenIndices: { type: "numbers", help: "Rows of the token embedding to train, beside LoRA's targets" },
  numVirtualTokens: { type: "integer", help: "Tokens of a prompt or prefix" },
} as const satisfies FlagTable;

/** The same, for other commands. */
export const adapterFlags: FlagTable = ADAPTER_FLAGS;

const PEFT_NAMES: Partial<Readonly<Record<keyof typeof ADAPTER_FLAGS, string>>> = {
  alpha: "lora_alpha",
  dropout: "lora_dropout",
  init: "init_lora_weights",
};

const flags = {
  model: {
    type: "string",
    value: "DIR",
    required: true,
    help: "Base: a Hugging Face folder, a .gguf file, or embedded:NAME",
  },
  data: { type: "string", value: "FILE", required: true, help: "Training rows, JSONL" },
  out: { type: "string", value: "DIR", required: true, help: "Folder for the adapter and its checkpoints" },
  evalData: { type: "string", value: "FILE", help: "Held-out rows; the best weights on them are kept" },
  evalSplit: { type: "number", value: "SHARE", help: "Share of the rows to hold out when there is no --eval-data" },
  task: { type: "string", help: "What is trained; else the adapter, the model or the rows say", choices: TASKS },
  method: { type: "string", value: "NAME", help: "lora, full, ia3, prompt-tuning, prefix-tuning, … (lora)" },
  adapterConfig: { type: "string", value: "FILE", help: "An adapter_config.json to take settings from" },
  initAdapter: { type: "string", value: "DIR", help: "Go on training this adapter" },
  ...ADAPTER_FLAGS,
  loss: {
    type: "string",
    help: "What to learn from judged answers by (dpo for pairs, kto for single ones)",
    choices: PREFERENCE_LOSSES,
  },
  beta: { type: "number", help: "How strongly judged answers hold the model to its reference" },
  desirableWeight: { type: "number", help: "KTO: what a good answer weighs" },
  undesirableWeight: { type: "number", help: "KTO: what a bad answer weighs" },
  batchSize: { type: "integer", help: "Rows of one pass" },
  gradAccum: { type: "integer", help: "Passes that one step adds up" },
  tokensPerBatch: { type: "integer", help: "Cut a step into passes of at most so many tokens, instead of rows" },
  packing: { type: "string", help: "Lay rows end to end, when it saves time, always or never", choices: PACKINGS },
  epochs: { type: "number", help: "Times over the data" },
  maxSteps: { type: "integer", help: "Steps in all, instead of epochs" },
  lr: { type: "number", help: "Learning rate (2e-4; 5e-5 with --method full; 1e-5 for preferences)" },
  loraplusRatio: { type: "number", help: "LoRA+: how many times faster B learns than A" },
  labelSmoothing: { type: "number", help: "Share of each target spread over all classes, in training alone" },
  modelDropout: { type: "boolean", help: "Draw the dropout of the checkpoint's own config.json" },
  mlmProbability: { type: "number", help: "Masked models: share of a text's tokens that each step hides" },
  fromScratch: { type: "boolean", help: "With --method full: begin with new weights by config.json alone" },
  scheduler: { type: "string", help: "Course of the learning rate", choices: SCHEDULERS },
  warmupSteps: { type: "integer", help: "Steps in which the learning rate rises" },
  warmupRatio: { type: "number", help: "The same as a share of all steps" },
  weightDecay: { type: "number", help: "AdamW's weight decay" },
  betas: { type: "numbers", help: "AdamW's averages" },
  eps: { type: "number", help: "AdamW's epsilon" },
  maxGradNorm: { type: "number", help: "Gradients are scaled down to this norm; 0 never" },
  maxLength: { type: "integer", help: "Tokens a row; longer ones are cut on the right" },
  maskPrompt: { type: "boolean", help: "Train on prompts, too" },
  seed: { type: "integer", help: "Fixes initial values, order and dropout" },
  shuffle: { type: "boolean", help: "Take rows in the file's order" },
  evalSteps: { type: "integer", help: "Steps between evaluations (an epoch)" },
  earlyStoppingPatience: { type: "integer", help: "End after so many evaluations without a gain (never)" },
  earlyStoppingThreshold: { type: "number", help: "What counts as a gain" },
  divergenceRatio: {
    type: "number",
    help: "End with an error when losses stay above so many times the first ones; 0 never",
  },
  divergencePatience: { type: "integer", help: "Steps in a row that say so" },
  samplePrompts: { type: "string", value: "TEXT|FILE", help: "Prompts to answer on the way, one a line" },
  sampleSteps: { type: "integer", help: "Steps between those answers (as evaluations)" },
  sampleTokens: { type: "integer", help: "Tokens of an answer" },
  saveSteps: { type: "integer", help: "Steps between checkpoints (only when interrupted)" },
  saveLimit: { type: "integer", help: "Checkpoints kept" },
  dryRun: { type: "boolean", help: "Show the rows, measure a few steps, tell time and memory; write nothing" },
  resume: { type: "optional", value: "DIR", help: "Go on from the newest checkpoint of --out, or from this one" },
  threads: { type: "integer", help: "Threads to compute with (one a core)" },
  precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS },
  quantType: { type: "string", help: "What --precision int4 holds weights as", choices: QUANT_TYPES },
  recompute: {
    type: "string",
    help: "Compute blocks again instead of keeping them",
    choices: RECOMPUTES,
  },
  prepack: {
    type: "string",
    help: "Hold the base's matrices rearranged: faster products, a copy or two more in memory (auto: int8)",
    choices: PREPACKS,
  },
  device: { type: "string", help: "Where to compute", choices: DEVICES },
} as const satisfies FlagTable;

const command: Command = defineCommand({
  summary: "Fine-tune a model with an adapter, or fully",
  usage: "--model DIR --data FILE --out DIR [options]",
  flags,
  events: true,
  defaults: async () => {
    const { trainOptions } = await import("../../train/options.ts");
    return { ...trainOptions({ model: "", data: "", out: "" }), maxSteps: null, threads: null };
  },
  notes:
    "Target modules with any of \\ * + ? ( ) [ ] { } | ^ $ in them are one regular expression for whole names.\n" +
    "Ctrl-C saves a checkpoint and ends; the same command with --resume goes on.",
  run: trainCommand,
});

export default command;

async function trainCommand({ flags: given, output }: Call<typeof flags>): Promise<number> {
  const { train } = await import("../../train/start.ts");
  if (given.dryRun) {
    const { dryRun } = await import("../dry-run.ts");
    const show = output.json ? () => {} : trainProgress(output);
    const plan = await dryRun(trainInput(given), train, (event) => {
      if (event.event === "warning") noteWarning(output, event);
      show(event);
    });
    if (output.json) output.event(plan);
    else output.line(planTable(plan));
    return 0;
  }
  return followRun<TrainEvent>({
    run: train(trainInput(given)),
    output,
    progress: trainProgress(output),
    writePage: async (out, events) => {
      const { writeTrainPage } = await import("../train-page.ts");
      // Steps are read from the run's own record, which has those of earlier sessions, too.
      return writeTrainPage(
        out,
        events.filter(({ event }) => event !== "step"),
        commandLine(),
      );
    },
  });
}

function trainInput(given: FlagsOf<typeof flags>): TrainInput {
  const {
    dryRun: _dryRun,
    config: _config,
    json: _json,
    debug: _debug,
    ...options
  } = given as FlagsOf<typeof flags> & Record<string, unknown>;
  const own = Object.fromEntries(Object.entries(options).filter(([name]) => !Object.hasOwn(ADAPTER_FLAGS, name)));
  return {
    threads: defaultThreads(),
    cacheDir: cacheFolder(),
    ...own,
    adapterFields: adapterFields(options),
  } as unknown as TrainInput;
}

/** What flags say of the adapter's configuration, by PEFT's names. */
export function adapterFields(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const fields = Object.entries(given).filter(([name]) => Object.hasOwn(ADAPTER_FLAGS, name));
  return Object.fromEntries(fields.map(([name, value]) => [peftName(name), fieldValue(name, value)]));
}

function peftName(flag: string): string {
  return PEFT_NAMES[flag as keyof typeof ADAPTER_FLAGS] ?? kebab(flag).replaceAll("-", "_");
}

function fieldValue(name: string, value: unknown): unknown {
  if (name === "init") return value === "true" ? true : value === "false" ? false : value;
  if (name === "targetModules" || name === "excludeModules") return moduleRule(value as readonly string[]);
  return value;
}

/** A list of names, "all-linear", or a regular expression, which no list can be told from but by its signs. */
function moduleRule(names: readonly string[]): string | readonly string[] {
  const text = names.join(",");
  return text === "all-linear" || /[\\*+?()[\]{}|^$]/.test(text) ? text : names;
}
