/** What a step computes: loss and gradients of its rows, added up over passes. */

import type { Example } from "../data/example.ts";
import { type Masking, maskedStep } from "../data/masking.ts";
import { createEvaluator } from "../evaluate/evaluate.ts";
import { type BatchFacts, countTargets, prepareBatch } from "../program/batch.ts";
import { textsOf } from "../program/pair-loss.ts";
import { type MountedAdapter, trainProgram } from "../program/program.ts";
import { createRunner } from "../program/runner.ts";
import type { Setup } from "../program/setup.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import { hash2 } from "../tensor/random.ts";
import { type Gradients, gradientSums, isGradient, type Trained } from "./gradients.ts";
import { type PassLimits, passesOf } from "./passes.ts";

export interface StepResult {
  /** Of the rows before the update. */
  readonly loss: number;
  readonly gradients: Gradients;
  /** Real tokens. */
  readonly tokens: number;
  readonly targetTokens: number;
  /** More about the rows, by the name that events give it. */
  readonly metrics?: Readonly<Record<string, number>>;
}

export interface Objective {
  /** `draw` fixes what is random in the step. Null when `stop` said so between two passes; nothing has changed then. */
  step(rows: readonly Example[], parameters: Trained, draw: number, stop: () => boolean): Promise<StepResult | null>;
  /** Frees what the next step can build again: its session. A device keeps it, since it holds the weights there. */
  rest(): Promise<void>;
  /** Loss and metrics over held-out rows. Rests first: the steps' session is not held beside those that it opens. */
  evaluate(rows: readonly Example[], parameters: Trained): Promise<{ readonly loss: number } & Record<string, number>>;
  close(): Promise<void>;
}

export interface ObjectiveOptions {
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  readonly setup: Setup;
  readonly adapter: MountedAdapter;
  readonly recompute: boolean;
  /** Whether the training session packs the base's weights. */
  readonly prepack: boolean;
  readonly limits: Omit<PassLimits, "cost">;
  readonly facts: BatchFacts;
  /** How targets are drawn; null where rows bring their own. */
  readonly masking: Masking | null;
  /** As TrainOptions has them. */
  readonly labelSmoothing: number;
  readonly modelDropout: boolean;
}

/** Cross-entropy, or squared error, against the rows' own targets or those that masking draws, each weighing the same. */
export function supervised(options: ObjectiveOptions): Objective {
  const { runtime, session, setup, adapter, recompute, prepack, facts, masking, labelSmoothing, modelDropout } =
    options;
  const { model, task } = setup;
  const trainer = createRunner({
    runtime,
    session: { ...session, prepack, keep: isGradient },
    build: (shape) =>
      trainProgram({ model, task, adapters: [adapter], shape, recompute, labelSmoothing, modelDropout }),
  });
  const sums = gradientSums(runtime);
  const evaluator = createEvaluator({ runtime, session, setup, adapters: [adapter], masking });
  const limits = { ...options.limits, cost: facts.cost };
  const rest = async (): Promise<void> => {
    if (!runtime.memory) await trainer.close();
  };
  return {
    step: async (given, parameters, draw, stop) => {
      const rows = masking ? maskedStep(given, masking, draw) : given;
      const targetTokens = countTargets(rows, facts);
      const sum = sums.begin(parameters);
      let loss = 0;
      let tokens = 0;
      const lengths = (row: Example): number[] => textsOf(row).map(({ ids }) => ids.length + facts.virtual.prompt);
      // Rows that are ranked against one another stay together, as they came.
      const passes = task === "sentence-embedding" ? inTurn(rows, limits.batchSize) : passesOf(rows, lengths, limits);
      for (const [i, examples] of passes.entries()) {
        if (i > 0 && stop()) return null;
        const batch = prepareBatch(examples, facts, 1 / targetTokens);
        const outputs = await trainer.run(batch, parameters, hash2(draw, i));
        loss += Number(outputs.get("loss")!.data[0]);
        tokens += batch.tokens;
        await sum.add(outputs);
      }
      return { loss, gradients: sum.gradients, tokens, targetTokens };
    },
    rest,
    evaluate: async (rows, parameters) => {
      await rest();
      const { targetTokens: _targets, rows: _rows, ...measured } = await evaluator.evaluate(rows, parameters);
      await evaluator.close(); // its session maps the weights a second time
      return measured as { readonly loss: number } & Record<string, number>;
    },
    close: async () => {
      await trainer.close();
      await sums.close();
      await evaluator.close();
    },
  };
}

function inTurn<T>(rows: readonly T[], size: number): T[][] {
  const count = Math.ceil(rows.length / size);
  return Array.from({ length: count }, (_, i) => rows.slice(i * size, (i + 1) * size));
}
