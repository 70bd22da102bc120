/** A model with its adapters over a data set: the mean loss over all target tokens of the file, and the task's metrics. */

import type { Example } from "../data/example.ts";
import { type Masking, maskedHeldOut } from "../data/masking.ts";
import { type BatchFacts, countTargets, prepareBatch } from "../program/batch.ts";
import { logitsProgram, lossProgram, type MountedAdapter } from "../program/program.ts";
import { createRunner, type Runner } from "../program/runner.ts";
import { batchFacts, type Setup } from "../program/setup.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { virtualTokens } from "./adapters.ts";
import { MEASURES } from "./metrics.ts";
import { type RowScores, scoreRows } from "./scores.ts";

/** Tokens that one pass holds, about. */
const TOKENS_A_PASS = 512;

/** Loss, counts, and the metrics of the task by name. */
export interface Evaluation {
  /** Mean over target tokens, or over labelled rows. */
  readonly loss: number;
  /** exp(loss), for language models. */
  readonly perplexity?: number;
  readonly targetTokens: number;
  readonly rows: number;
  readonly [metric: string]: number | undefined;
}

export interface EvaluatorOptions {
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  readonly setup: Setup;
  readonly adapters: readonly MountedAdapter[];
  /** How targets are drawn; null where rows bring their own. */
  readonly masking?: Masking | null;
}

/** Evaluates again and again with other tensors; its sessions stay open between. */
export interface Evaluator {
  evaluate(examples: readonly Example[], tensors: ReadonlyMap<string, Tensor>): Promise<Evaluation>;
  /** As evaluate, handing every row's scores to `visit` by the row's index; rows come in any order. */
  scored(
    examples: readonly Example[],
    tensors: ReadonlyMap<string, Tensor>,
    visit: (index: number, scores: RowScores) => void,
  ): Promise<Evaluation>;
  close(): Promise<void>;
}

export function createEvaluator({ runtime, session, setup, adapters, masking = null }: EvaluatorOptions): Evaluator {
  const { model, task } = setup;
  const facts = batchFacts(setup, virtualTokens(adapters));
  const runner = (program: typeof lossProgram): Runner =>
    createRunner({ runtime, session, build: (shape) => program({ model, task, adapters, shape }) });
  const losses = runner(lossProgram);
  const logits = runner(logitsProgram);
  const targeted = (rows: readonly Example[]): readonly Example[] => (masking ? maskedHeldOut(rows, masking) : rows);
  const scored: Evaluator["scored"] = async (rows, tensors, visit) => {
    const examples = targeted(rows);
    const measure = MEASURES[task]?.(classNames(model));
    const indices = new Map(examples.map((example, i) => [example, i]));
    for (const pass of passes(examples)) {
      const scores = await scoreRows(logits, pass, facts, tensors);
      pass.forEach((example, i) => {
        visit(indices.get(example)!, scores[i]!);
        measure?.add(example, scores[i]!);
      });
    }
    if (!measure) return meanLoss(losses, examples, facts, tensors);
    const { lossSum, targets, metrics } = measure.result();
    return { loss: lossSum / targets, targetTokens: targets, rows: examples.length, ...metrics };
  };
  return {
    scored,
    evaluate: (examples, tensors) =>
      MEASURES[task] ? scored(examples, tensors, () => {}) : meanLoss(losses, targeted(examples), facts, tensors),
    close: async () => {
      await losses.close();
      await logits.close();
    },
  };
}

/** Names of the classes by index, where config.json tells them. */
function classNames({ rawConfig, config }: Setup["model"]): readonly string[] | undefined {
  const names = rawConfig["id2label"] as Readonly<Record<string, string>> | undefined;
  return names && Array.from({ length: config.labels }, (_, i) => names[i] ?? "");
}

async function meanLoss(
  runner: Runner,
  examples: readonly Example[],
  facts: BatchFacts,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<Evaluation> {
  let sum = 0;
  let targetTokens = 0;
  let hits = 0;
  for (const pass of passes(examples)) {
    const outputs = await runner.run(prepareBatch(pass, facts, 1), tensors);
    sum += Number(outputs.get("loss")!.data[0]);
    hits += Number(outputs.get("hits")?.data[0] ?? Number.NaN);
    targetTokens += countTargets(pass, facts);
  }
  const loss = sum / targetTokens;
  const accuracy = Number.isNaN(hits) ? {} : { accuracy: hits / targetTokens };
  return { loss, perplexity: Math.exp(loss), targetTokens, rows: examples.length, ...accuracy };
}

/** Examples in passes of about as many tokens, rows of like length together; every row once. */
export function passes(examples: readonly Example[]): Example[][] {
  const sorted = examples.toSorted((a, b) => a.ids.length - b.ids.length || a.line - b.line);
  const all: Example[][] = [];
  let pass: Example[] = [];
  let tokens = 0;
  for (const example of sorted) {
    if (pass.length > 0 && tokens + example.ids.length > TOKENS_A_PASS) {
      all.push(pass);
      pass = [];
      tokens = 0;
    }
    pass.push(example);
    tokens += example.ids.length;
  }
  if (pass.length > 0) all.push(pass);
  return all;
}
