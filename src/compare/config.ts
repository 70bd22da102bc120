/** What is compared: methods on tasks, each with several seeds; one file says it all. */

import { z } from "zod";
import { UsageError } from "../errors.ts";

/** Options of `lowrank train` by their camelCase names. */
export type TrainFlags = Readonly<Record<string, unknown>>;

export interface ComparedTask {
  readonly name: string;
  readonly data: string;
  /** Held-out rows that choose the learning rate and the best step. */
  readonly evalData: string;
  /** Rows that the result is measured on; null: evalData. */
  readonly test: string | null;
  /** What of an evaluation is the quality; null: accuracy, or pearson, or the loss, whichever the task has. */
  readonly metric: string | null;
  readonly train: TrainFlags;
}

export interface ComparedMethod {
  readonly name: string;
  /** Learning rates to try; the best on the first seed's evalData is taken. */
  readonly lr: readonly number[];
  readonly train: TrainFlags;
}

export interface Comparison {
  readonly model: string;
  readonly tasks: readonly ComparedTask[];
  readonly methods: readonly ComparedMethod[];
  readonly seeds: readonly number[];
  /** Numbers of training rows, for curves of little data; null stands for all. */
  readonly rows: readonly (number | null)[];
  /** Options that all runs share. */
  readonly train: TrainFlags;
}

const flags = z.record(z.string(), z.unknown());
const name = z.string().regex(/^[\w .+=,()-]{1,60}$/, "needs up to 60 letters, digits and plain signs");

const schema = z.strictObject({
  model: z.string(),
  tasks: z
    .array(
      z.looseObject({
        name,
        data: z.string(),
        evalData: z.string(),
        test: z.string().nullable().default(null),
        metric: z.string().nullable().default(null),
      }),
    )
    .min(1),
  methods: z
    .array(
      z.looseObject({
        name,
        lr: z
          .union([z.number().positive(), z.array(z.number().positive()).min(1)])
          .transform((lr) => [lr].flat())
          .optional(),
      }),
    )
    .min(1),
  seeds: z.array(z.number().int().min(0)).min(1).default([0]),
  rows: z.array(z.number().int().min(1).nullable()).min(1).default([null]),
  train: flags.default({}),
});

/** Options that the comparison sets itself. */
const OWN = ["model", "data", "evalData", "out", "seed", "resume"];

/** Reads a comparison's file. Throws UsageError naming every entry that is wrong. */
export function parseComparison(given: unknown, where: string): Comparison {
  const result = schema.safeParse(given);
  if (!result.success) {
    const issues = result.error.issues.map(({ path, message }) => `  ${path.join(".")}: ${message}`);
    throw new UsageError(`${where} is no comparison:\n${issues.join("\n")}`);
  }
  const { model, tasks, methods, seeds, rows, train } = result.data;
  const comparison: Comparison = {
    model,
    seeds,
    rows,
    train,
    tasks: tasks.map(({ name, data, evalData, test, metric, ...own }) => ({
      name,
      data,
      evalData,
      test,
      metric,
      train: own,
    })),
    methods: methods.map(({ name, lr, ...own }) => ({ name, lr: lr ?? [], train: own })),
  };
  for (const [kind, entries] of [
    ["tasks", comparison.tasks],
    ["methods", comparison.methods],
  ] as const) {
    const twice = entries.find((each, i) => entries.findIndex((other) => other.name === each.name) < i);
    if (twice) throw new UsageError(`${where}: two ${kind} are called ${twice.name}. Name each once.`);
  }
  for (const set of [
    train,
    ...comparison.tasks.map((each) => each.train),
    ...comparison.methods.map((each) => each.train),
  ]) {
    const own = Object.keys(set).find((key) => OWN.includes(key));
    if (own) throw new UsageError(`${where}: ${own} is set by the comparison. Leave it away.`);
  }
  return comparison;
}
