/** Examples → the numbers that a program is fed: layout, head rows, targets and their weights. */

import { type Example, IGNORED } from "../data/example.ts";
import type { Head } from "../models/architecture.ts";
import { type Layout, streamInputs } from "../models/stream.ts";
import { labelsValues, type Task } from "../task.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type CostFacts,
  chooseStreams,
  headRows,
  headShape,
  type PlacedRow,
  type ProgramShape,
  place,
  type VirtualTokens,
} from "./layout.ts";
import { pairInputs, textsOf } from "./pair-loss.ts";
import type { Program } from "./program.ts";

export interface BatchFacts {
  readonly task: Task;
  readonly rows: Head<never>["rows"];
  readonly cost: CostFacts;
  readonly virtual: VirtualTokens;
  /** Scores of one head row. */
  readonly classes: number;
  /** Numbers a row of regression targets holds. */
  readonly labels: number;
}

export interface Batch {
  readonly shape: ProgramShape;
  readonly layout: Omit<Layout, "draw">;
  readonly places: readonly PlacedRow[];
  /** Inputs that do not come from the layout: rows, labels or values, weights. */
  readonly targets: ReadonlyMap<string, Tensor>;
  /** Real tokens. */
  readonly tokens: number;
  readonly targetCount: number;
}

/** The places in a row whose hidden states are trained, with the label of each. */
export function targetsOf(
  example: Example,
  { task, virtual }: Pick<BatchFacts, "task" | "virtual">,
): { at: number; label: number }[] {
  if (!example.labels) return [];
  // A causal model predicts token i from the state before it; the first real token has one only after a prompt.
  const shift = task === "causal-lm" ? 1 : 0;
  const first = shift - Math.min(shift, virtual.prompt);
  const targets: { at: number; label: number }[] = [];
  example.labels.forEach((label, i) => {
    if (label !== IGNORED && i >= first) targets.push({ at: i - shift, label });
  });
  return targets;
}

/** Target tokens, or labelled rows, of these examples. */
export function countTargets(
  examples: readonly Example[],
  facts: Pick<BatchFacts, "task" | "virtual" | "rows">,
): number {
  if (facts.rows !== "targets") return examples.length;
  return examples.reduce((sum, example) => sum + targetsOf(example, facts).length, 0);
}

/** Lays examples out and collects their targets, each weighing `weight` in the loss. */
export function prepareBatch(examples: readonly Example[], facts: BatchFacts, weight: number): Batch {
  const texts = examples.flatMap(textsOf);
  const { B, T } = chooseStreams(
    texts.map(({ ids }) => ids.length + facts.virtual.prompt),
    facts.cost,
  );
  const { layout, places } = place(texts, { B, T }, facts.virtual);
  const tokens = texts.reduce((sum, { ids }) => sum + ids.length, 0);
  if (facts.rows === "pooled") {
    const { M, chunks } = headShape(texts.length, 1);
    const inputs = pairInputs(examples, facts.task, M, weight);
    return { shape: { B, T, M, chunks }, layout, places, targets: inputs, tokens, targetCount: examples.length };
  }
  const targets = examples.map((example) => targetsOf(example, facts));
  const rows = headRows(
    facts.rows,
    places,
    targets.map((each) => each.map(({ at }) => at)),
  );
  const count = rows.length;
  const { M, chunks } = headShape(count, facts.classes);
  const inputs = new Map<string, Tensor>([
    ["rows", padded(rows, M)],
    ["weights", { dtype: "f32", shape: [M], data: new Float32Array(M).fill(weight, 0, count) }],
  ]);
  if (labelsValues(facts.task)) {
    const values = new Float32Array(M * facts.labels);
    examples.forEach((example, row) => {
      values.set([example.label ?? 0].flat(), row * facts.labels);
    });
    inputs.set("values", { dtype: "f32", shape: [M, facts.labels], data: values });
  } else {
    const labels =
      facts.rows === "targets"
        ? targets.flatMap((each) => each.map(({ label }) => label))
        : examples.map(({ label }) => Number(label ?? 0));
    inputs.set("labels", padded(labels, M));
  }
  return { shape: { B, T, M, chunks }, layout, places, targets: inputs, tokens, targetCount: count };
}

/** The batch with a weight for each target, in the order of the examples and of their targets. */
export function withWeights(batch: Batch, weights: readonly number[]): Batch {
  const data = new Float32Array(batch.shape.M);
  data.set(weights);
  const targets = new Map([...batch.targets, ["weights", { dtype: "f32", shape: [data.length], data }] as const]);
  return { ...batch, targets };
}

/** Every input of a program but the adapters' tensors. `draw` fixes the batch's random draws. */
export function batchInputs(program: Program, batch: Batch, draw: number): Map<string, Tensor> {
  return new Map([...streamInputs(program.stream, { ...batch.layout, draw }, batch.shape), ...batch.targets]);
}

function padded(values: readonly number[], count: number): Tensor {
  const data = new Int32Array(count);
  data.set(values);
  return { dtype: "i32", shape: [count], data };
}
