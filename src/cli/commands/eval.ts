/** `lowrank eval` */

import { UsageError } from "../../errors.ts";
import type { TextScores } from "../../evaluate/text/score.ts";
import type { WeightedAdapter } from "../../generate/adapter-set.ts";
import { QUANT_TYPES, type QuantType } from "../../precision/blocks.ts";
import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { DEVICES, type Device, type Runtime } from "../../runtime/session.ts";
import { TASKS } from "../../task.ts";
import { type AdapterArgument, adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { type Output, table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Measure loss and metrics on a file",
  usage: "--model DIR --data FILE [--adapter [NAME=]PATH[@WEIGHT] …] [options]",
  flags: {
    model: {
      type: "string",
      value: "DIR",
      required: true,
      help: "Base: a Hugging Face folder, a .gguf file, or embedded:NAME",
    },
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
    mlmProbability: { type: "number", help: "Masked models: share of a text's tokens that are hidden" },
    generate: {
      type: "boolean",
      help: "Write a completion for every prompt, too, and score it against the rows' (BLEU, NIST, METEOR, ROUGE-L, CIDEr)",
    },
    maxTokens: { type: "integer", help: "Most tokens of such a completion", shown: "128" },
    beams: { type: "integer", help: "Beam search over so many sequences", shown: "1, greedy" },
    lengthPenalty: { type: "number", help: "Of beams: above 0 favours long completions" },
    noRepeatNgram: { type: "integer", help: "Of beams: no run of so many tokens occurs twice; 0 allows all" },
    limit: { type: "integer", help: "Prompts to complete (all)" },
    predictions: { type: "string", value: "FILE", help: "Write the completions to this file, for lowrank score" },
    logits: { type: "string", value: "FILE", help: "Write every row's scores to this safetensors file" },
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS },
    quantType: { type: "string", help: "What --precision int4 holds weights as", choices: QUANT_TYPES },
    device: { type: "string", help: "Where to compute", choices: DEVICES },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  defaults: async () => ({
    ...(await import("../../evaluate/run.ts")).EVALUATE_DEFAULTS,
    threads: null,
    adapters: null,
  }),
  run: async ({ flags, output }) => {
    const [{ evaluateHere }, { runtimeOn }] = await Promise.all([
      import("../../evaluate/run.ts"),
      import("../../runtime/devices.ts"),
    ]);
    const {
      adapter,
      task,
      precision,
      quantType,
      generate = false,
      maxTokens,
      beams,
      lengthPenalty,
      noRepeatNgram,
      limit,
      predictions,
      device,
      ...rest
    } = flags;
    const runtime = runtimeOn((device as Device | undefined) ?? "cpu");
    if (!generate && (maxTokens ?? beams ?? lengthPenalty ?? noRepeatNgram ?? limit ?? predictions) !== undefined) {
      throw new UsageError(
        "--max-tokens, --beams and its rules, --limit and --predictions go with --generate. Add it, or leave them away.",
      );
    }
    const evaluated = await evaluateHere(
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
      runtime,
    );
    const asked = { ...flags, adapter: adapterArguments(adapter) };
    const scores = generate ? await scoreCompletions(asked, runtime, output) : {};
    const result = { ...evaluated, ...scores };
    output.result(result, () => table(Object.entries(result).map(([name, value]) => [name, String(value)])));
  },
});

export default command;

interface Asked {
  readonly model: string;
  readonly data: string;
  readonly adapter: readonly AdapterArgument[];
  readonly threads?: number;
  readonly maxTokens?: number;
  readonly beams?: number;
  readonly lengthPenalty?: number;
  readonly noRepeatNgram?: number;
  readonly limit?: number;
  readonly predictions?: string;
}

async function scoreCompletions(asked: Asked, runtime: Runtime, output: Output): Promise<TextScores> {
  const [{ loadBase }, { writeCompletions }, { scoreTexts }, { dataFile }, { writeFileAtomic }] = await Promise.all([
    import("../../generate/load.ts"),
    import("../../generate/completions.ts"),
    import("../../evaluate/text/score.ts"),
    import("../../data/folder.ts"),
    import("../../files/atomic.ts"),
  ]);
  const { model, data, adapter, threads = defaultThreads(), maxTokens = 128, limit = null, predictions } = asked;
  const { beams = 1, lengthPenalty, noRepeatNgram } = asked;
  const base = await loadBase(model, { threads }, runtime);
  try {
    const adapters: WeightedAdapter[] = [];
    for (const { path, weight } of adapter) adapters.push([await base.adapter(path), weight]);
    const texts = await writeCompletions({
      base,
      adapters,
      file: dataFile(data, "test", "valid"),
      maxTokens,
      search: {
        beams,
        ...(lengthPenalty === undefined ? {} : { lengthPenalty }),
        ...(noRepeatNgram === undefined ? {} : { noRepeatNgram }),
      },
      limit,
      onProgress: (done, total) => output.progress(`completion ${done} of ${total}`),
    });
    if (predictions !== undefined) {
      const lines = texts.map((each) => `${JSON.stringify(each)}\n`).join("");
      writeFileAtomic(predictions, new TextEncoder().encode(lines));
    }
    return scoreTexts(texts);
  } finally {
    await base.close();
  }
}
