/**
 * Learning from judged answers. A pass runs twice: forward, for the answers' log probabilities; then with a weight for each
 * target, the derivative of the loss by its log probability, which makes the gradient of the weighted cross-entropy that of
 * the loss. So the graph stays that of any other training, and its head the chunked one.
 *
 * The reference is the base with the adapter switched off, or the adapter as it was where one is trained on; what it says
 * of a row never changes and is computed once.
 */

import type { Dataset } from "../data/dataset.ts";
import { type Example, IGNORED } from "../data/example.ts";
import { judgementOf } from "../data/formats.ts";
import { UsageError } from "../errors.ts";
import { type BatchFacts, prepareBatch, targetsOf, withWeights } from "../program/batch.ts";
import { NO_VIRTUAL } from "../program/layout.ts";
import { type MountedAdapter, targetLossProgram, trainProgram } from "../program/program.ts";
import { createRunner, type Runner } from "../program/runner.ts";
import { hash2 } from "../tensor/random.ts";
import { gradientSums, isGradient, type Trained } from "./gradients.ts";
import { answersOf, type JudgedRow, judge } from "./judge.ts";
import type { Objective, ObjectiveOptions } from "./objective.ts";
import type { TrainOptions } from "./options.ts";
import { passesOf } from "./passes.ts";
import type { PreferenceLoss } from "./preference.ts";

/** The loss for rows of this kind: the one asked for, or what the rows say; null for rows that judge nothing. */
export function preferenceLossOf(
  { loss, batchSize, gradAccum, labelSmoothing }: TrainOptions,
  { format }: Pick<Dataset, "format">,
): PreferenceLoss | null {
  const judgement = judgementOf(format);
  const found = loss ?? (judgement === "pairs" ? "dpo" : judgement === "verdicts" ? "kto" : null);
  if (found === null) return null;
  const needed = found === "kto" ? "verdicts" : "pairs";
  if (judgement !== needed) {
    const rows =
      needed === "pairs" ? '{"prompt", "chosen", "rejected"}' : '{"prompt", "completion", "label": true or false}';
    throw new UsageError(
      `--loss ${found} needs rows of ${rows}, found rows of ${format}. Give other rows, or another --loss.`,
    );
  }
  if (found === "kto" && batchSize * gradAccum < 2) {
    throw new UsageError("--loss kto compares the rows of a step with one another. Use --batch-size 2 or more.");
  }
  if (labelSmoothing > 0 && (found !== "dpo" || labelSmoothing >= 0.5)) {
    throw new UsageError(
      `--label-smoothing ${labelSmoothing}: of the preference losses only dpo has it, below 0.5. Leave it away.`,
    );
  }
  return found;
}

export interface PreferenceOptions extends ObjectiveOptions {
  readonly kind: PreferenceLoss;
  readonly options: TrainOptions;
  /** The adapter that the reference has; null for the base alone. */
  readonly reference: { readonly adapter: MountedAdapter; readonly tensors: Trained } | null;
}

/** Log probabilities of rows: one number a target, in their order. */
type Scorer = (rows: readonly Example[], draw?: number) => Promise<Float64Array[]>;

export function preferences(given: PreferenceOptions): Objective {
  const { runtime, session, setup, adapter, recompute, prepack, facts, kind, options, reference, modelDropout } = given;
  const { model, task } = setup;
  const limits = { ...given.limits, cost: facts.cost };
  const forward = (adapters: readonly MountedAdapter[], dropout: boolean): Runner => {
    const program = { model, task, adapters, modelDropout };
    return createRunner({ runtime, session, build: (shape) => targetLossProgram({ ...program, shape }, dropout) });
  };
  const sums = gradientSums(runtime);
  const trainer = createRunner({
    runtime,
    session: { ...session, prepack, keep: isGradient },
    build: (shape) => trainProgram({ model, task, adapters: [adapter], shape, recompute, modelDropout }),
  });
  const policy = forward([adapter], true);
  const tested = forward([adapter], false); // without dropout
  const referred = forward(reference ? [reference.adapter] : [], false);
  const referredFacts = { ...facts, virtual: reference ? facts.virtual : NO_VIRTUAL };

  const scorer =
    (runner: Runner, tensors: Trained, of: BatchFacts): Scorer =>
    async (rows, draw = 0) => {
      const counts = rows.map((row) => targetsOf(row, of).length);
      const { data } = (await runner.run(prepareBatch(rows, of, 1), tensors, draw)).get("losses")!;
      let at = 0;
      return counts.map((count) => {
        at += count;
        return Float64Array.from(data.slice(at - count, at) as Float32Array, (nll) => -nll);
      });
    };

  const asReference = scorer(referred, reference?.tensors ?? new Map(), referredFacts);
  const known = new WeakMap<Example, readonly number[]>();
  /** Σ log p of each answer of each row by the reference. */
  const references = async (rows: readonly Example[]): Promise<void> => {
    const unknown = kind === "orpo" ? [] : rows.filter((row) => !known.has(row));
    if (unknown.length === 0) return;
    const sums = (await asReference(unknown.flatMap((row) => answersOf(row)))).map(total);
    for (const row of unknown) known.set(row, sums.splice(0, answersOf(row).length));
  };

  /** KTO's estimate of how far the model has moved: over each prompt with the answer of the row before. */
  const driftOf = async (rows: readonly Example[], score: Scorer): Promise<number> => {
    if (kind !== "kto") return 0;
    let sum = 0;
    const mixed = rows.map((row, i) => mismatched(row, rows.at(i - 1)!, options.maxLength));
    for (const [i, pass] of passesOf(mixed, lengthsOf(facts), limits).entries()) {
      const own = (await score(pass, i)).map(total);
      const theirs = (await asReference(pass)).map(total);
      own.forEach((value, row) => {
        sum += value - theirs[row]!;
      });
    }
    return Math.max(0, sum / rows.length);
  };

  /** The rows of a pass with what model and reference say of them. */
  const judged = async (rows: readonly Example[], score: Scorer, draw: number): Promise<JudgedRow[]> => {
    await references(rows);
    const scores = await score(
      rows.flatMap((row) => answersOf(row, kind)),
      draw,
    );
    return rows.map((row) => ({
      row,
      logps: scores.splice(0, answersOf(row).length),
      references: known.get(row) ?? [0, 0],
    }));
  };

  const rest = async (): Promise<void> => {
    if (!runtime.memory) for (const each of [trainer, policy]) await each.close();
  };

  return {
    step: async (rows, parameters, draw, stop) => {
      const score = scorer(policy, parameters, facts);
      const drift = await driftOf(rows, (mixed, pass = 0) => score(mixed, hash2(draw, ~pass)));
      const judgement = judge(kind, options, rows, drift);
      const sum = sums.begin(parameters);
      let tokens = 0;
      let targetTokens = 0;
      for (const [i, pass] of passesOf(rows, lengthsOf(facts), limits).entries()) {
        if (stop()) return null;
        const passDraw = hash2(draw, i);
        const weights = judgement.add(await judged(pass, score, passDraw));
        const batch = withWeights(
          prepareBatch(
            pass.flatMap((row) => answersOf(row, kind)),
            facts,
            1,
          ),
          weights,
        );
        await sum.add(await trainer.run(batch, parameters, passDraw));
        tokens += batch.tokens;
        targetTokens += batch.targetCount;
      }
      return { ...judgement.result(), gradients: sum.gradients, tokens, targetTokens };
    },
    rest,
    evaluate: async (rows, parameters) => {
      await rest();
      const score = scorer(tested, parameters, facts);
      const means = new Map<string, number>();
      for (let at = 0; at < rows.length; at += options.batchSize) {
        const part = rows.slice(at, at + options.batchSize);
        const judgement = judge(kind, options, part, await driftOf(part, score));
        for (const pass of passesOf(part, lengthsOf(facts), limits)) judgement.add(await judged(pass, score, 0));
        const { loss, metrics } = judgement.result();
        for (const [name, value] of Object.entries({ loss, ...metrics })) {
          means.set(name, (means.get(name) ?? 0) + (value * part.length) / rows.length);
        }
      }
      await tested.close(); // its session maps the weights once more
      return Object.fromEntries(means) as { readonly loss: number } & Record<string, number>;
    },
    close: async () => {
      for (const each of [trainer, policy, tested, referred, sums]) await each.close();
    },
  };
}

function lengthsOf({ virtual }: BatchFacts): (row: Example) => number[] {
  return (row) => answersOf(row).map(({ ids }) => ids.length + virtual.prompt);
}

/** The prompt of one row with the answer of another. */
function mismatched(row: Example, other: Example, maxLength: number): Example {
  const start = ({ labels }: Example): number => labels!.findIndex((label) => label !== IGNORED);
  const prompt = row.ids.slice(0, start(row));
  const answer = other.ids.slice(start(other));
  const ids = Int32Array.from([...prompt, ...answer]).slice(0, maxLength);
  return { ids, labels: ids.slice().fill(IGNORED, 0, prompt.length), line: row.line };
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
