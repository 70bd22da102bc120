/** The head's scores of every row: what metrics, `eval --logits` and `verify` rest on. */

import type { Example } from "../data/example.ts";
import type { Batch, BatchFacts } from "../program/batch.ts";
import { chooseStreams, headRows, headShape, place } from "../program/layout.ts";
import { textsOf } from "../program/pair-loss.ts";
import type { Runner } from "../program/runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The scores of one row. */
export interface RowScores {
  /** [count, classes] */
  readonly scores: Float32Array;
  /** Places of the row that were scored: its tokens, its texts where they are embedded, or 1 for the whole row. */
  readonly count: number;
  readonly classes: number;
}

/** Runs `runner`, whose programs give `logits`, on the examples; `virtual` scores prompt tokens too, before the row's. */
export async function scoreRows(
  runner: Runner,
  examples: readonly Example[],
  facts: BatchFacts,
  tensors: ReadonlyMap<string, Tensor>,
  { virtual = false }: { readonly virtual?: boolean } = {},
): Promise<RowScores[]> {
  const { batch, counts } = scoreBatch(examples, facts, virtual ? facts.virtual.prompt : 0);
  const { data, shape } = (await runner.run(batch, tensors)).get("logits")!;
  const classes = shape[1]!;
  let at = 0;
  return counts.map((count) => {
    const from = at;
    at += count * classes;
    return { scores: (data as Float32Array).slice(from, at), count, classes };
  });
}

/** A batch whose head reads every place that it can, `before` places ahead of each row's tokens included. */
function scoreBatch(
  examples: readonly Example[],
  { rows: kind, virtual, cost }: BatchFacts,
  before: number,
): { batch: Batch; counts: number[] } {
  const texts = examples.flatMap(textsOf);
  const streams = chooseStreams(
    texts.map(({ ids }) => ids.length + virtual.prompt),
    cost,
  );
  const { layout, places } = place(texts, streams, virtual);
  const everywhere = examples.map(({ ids }) => Array.from({ length: before + ids.length }, (_, i) => i - before));
  const rows = headRows(kind, places, everywhere);
  const pooled = kind === "pooled";
  const { M } = headShape(pooled ? texts.length : rows.length, 1); // in one chunk: every score is wanted
  const data = new Int32Array(M);
  data.set(rows);
  const tokens = texts.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    batch: {
      shape: { ...streams, M, chunks: 1 },
      layout,
      places,
      targets: new Map<string, Tensor>(pooled ? [] : [["rows", { dtype: "i32", shape: [M], data }]]),
      tokens,
      targetCount: rows.length,
    },
    counts: examples.map((example, i) => (kind === "targets" ? everywhere[i]!.length : textsOf(example).length)),
  };
}
