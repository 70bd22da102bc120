/** The library's `evaluate()`: a model with adapters on a file. */

import type { Dataset } from "../data/dataset.ts";
import { dataFile } from "../data/folder.ts";
import { judgementOf } from "../data/formats.ts";
import { MLM_PROBABILITY } from "../data/masking.ts";
import { DataError } from "../errors.ts";
import type { QuantType } from "../precision/blocks.ts";
import { atPrecision, type Precision, QUANT_TYPE, refuseOnDevice } from "../precision/precision.ts";
import { maskingOf, openBase, readData } from "../program/setup.ts";
import type { Device, Runtime } from "../runtime/session.ts";
import type { Task } from "../task.ts";
import {
  type AdapterChoice,
  adapterBase,
  adapterTask,
  openAdapters,
  settleWithAdapters,
  warnOfBases,
} from "./adapters.ts";
import { createEvaluator, type Evaluation } from "./evaluate.ts";
import { spillScores } from "./spill.ts";

export interface EvaluateInput {
  /** Hugging Face folder of the base, or embedded:NAME. */
  readonly model: string;
  readonly data: string;
  /** Applied together, as a weighted sum. */
  readonly adapters?: readonly AdapterChoice[];
  readonly task?: Task | null;
  /** Tokens a row; longer ones are cut on the right. */
  readonly maxLength?: number;
  /** Whether the prompt of prompt/completion rows is no target. */
  readonly maskPrompt?: boolean;
  /** Masked models on plain text: the share of tokens that are hidden, the same ones each time. */
  readonly mlmProbability?: number;
  readonly threads?: number;
  /** What computes: the CPU, or a GPU by WebGPU. */
  readonly device?: Device;
  /** Arithmetic of the base. */
  readonly precision?: Precision;
  /** What four bits stand for. */
  readonly quantType?: QuantType;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
  /** A safetensors file to write every row's scores to. */
  readonly logits?: string | null;
  /** Told of what is no error: an adapter that names another base. */
  readonly onWarning?: (message: string) => void;
}

/** What may be left out. */
export const EVALUATE_DEFAULTS = {
  adapters: [],
  task: null,
  maxLength: 1024,
  maskPrompt: true,
  mlmProbability: MLM_PROBABILITY as number,
  threads: 2,
  device: "cpu",
  precision: "fp32",
  quantType: QUANT_TYPE as QuantType,
  cacheDir: null,
  logits: null,
} as const;

/** Loss over the whole file and the task's metrics. Throws LowrankError for data, models or adapters that do not fit. */
export async function evaluateHere(input: EvaluateInput, runtime: Runtime): Promise<Evaluation> {
  const {
    model,
    data,
    adapters,
    task,
    maxLength,
    maskPrompt,
    mlmProbability,
    threads,
    logits,
    precision,
    quantType,
    cacheDir,
  } = {
    ...EVALUATE_DEFAULTS,
    ...input,
  };
  refuseOnDevice(precision, runtime);
  const bare = openBase(model, cacheDir);
  const opened = openAdapters(adapters);
  const asked = adapterTask(bare, opened, task);
  const base = adapterBase(bare, opened.folders, asked);
  const dataset: Dataset = readData(base, dataFile(data, "test", "valid"), {
    task: asked,
    maxLength,
    maskPrompt,
  });
  if (judgementOf(dataset.format) !== null) {
    throw new DataError(
      `${data}: rows of preferences are judged beside a reference, in training: lowrank train --eval-data ${data}. For the loss of the good answers alone, give rows of {"prompt", "completion"}.`,
    );
  }
  const { setup: settled, loaded } = settleWithAdapters(base, opened, task, dataset.task);
  const setup = {
    ...settled,
    model: await atPrecision(settled, { precision, quantType, cacheDir }, runtime),
  };
  warnOfBases(opened, base, model, input.onWarning);
  const masking = maskingOf(base, dataset, mlmProbability);
  const evaluator = createEvaluator({ runtime, session: { threads }, setup, adapters: loaded.mounted, masking });
  try {
    if (logits === null) return await evaluator.evaluate(dataset.examples, loaded.tensors);
    const spill = spillScores(logits);
    try {
      const several = setup.head.rows === "targets" || setup.head.rows === "pooled";
      const result = await evaluator.scored(dataset.examples, loaded.tensors, (index, { scores, count, classes }) =>
        spill.add(`row.${index}`, several ? [count, classes] : [classes], scores),
      );
      spill.finish();
      return result;
    } finally {
      spill.discard();
    }
  } finally {
    await evaluator.close();
  }
}
