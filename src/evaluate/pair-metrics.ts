/** Loss and metrics of embeddings: how well anchors find their positives, and how well cosines follow scores. */

import { RANKING_SCALE } from "../program/pair-loss.ts";
import { pearson, ranks } from "./correlation.ts";
import type { Measure } from "./metrics.ts";
import type { RowScores } from "./scores.ts";

/** Rows that are ranked against one another; more are ranked block by block, in the file's order. */
const BLOCK = 1000;

/** The embeddings [count, classes] of a row's texts, each of length 1. */
function units({ scores, count, classes }: RowScores): Float32Array[] {
  return Array.from({ length: count }, (_, i) => normalized(scores.subarray(i * classes, (i + 1) * classes)));
}

/** x of length 1; zeros stay. */
export function normalized(x: Float32Array): Float32Array {
  const length = Math.max(Math.hypot(...x), 1e-12);
  return x.map((value) => value / length);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/**
 * Each anchor among the positives and negatives of its block: cross-entropy at the training scale, the share whose own
 * positive comes first, and the mean of 1 / its place.
 */
export function ranking(): Measure {
  const rows: { readonly line: number; readonly texts: readonly Float32Array[] }[] = [];
  return {
    add: ({ line }, scores) => {
      rows.push({ line, texts: units(scores) });
    },
    result: () => {
      let [lossSum, first, reciprocal] = [0, 0, 0];
      const sorted = rows.toSorted((a, b) => a.line - b.line);
      for (let from = 0; from < sorted.length; from += BLOCK) {
        const block = sorted.slice(from, from + BLOCK);
        const candidates = block.flatMap(({ texts }) => texts.slice(1));
        for (const { texts } of block) {
          const cosines = candidates.map((candidate) => dot(texts[0]!, candidate));
          const own = dot(texts[0]!, texts[1]!);
          const largest = cosines.reduce((a, b) => Math.max(a, b));
          const sum = cosines.reduce((total, each) => total + Math.exp(RANKING_SCALE * (each - largest)), 0);
          lossSum += Math.log(sum) - RANKING_SCALE * (own - largest);
          const place = 1 + cosines.filter((each) => each > own).length;
          if (place === 1) first++;
          reciprocal += 1 / place;
        }
      }
      const targets = rows.length;
      return { lossSum, targets, metrics: { accuracy: first / targets, mrr: reciprocal / targets } };
    },
  };
}

/** Squared error of the cosines, and how well they follow the scores. */
export function similarity(): Measure {
  const cosines: number[] = [];
  const wanted: number[] = [];
  return {
    add: ({ label }, scores) => {
      const [a, b] = units(scores);
      cosines.push(dot(a!, b!));
      wanted.push(Number(label));
    },
    result: () => ({
      lossSum: cosines.reduce((sum, cosine, i) => sum + (cosine - wanted[i]!) ** 2, 0),
      targets: cosines.length,
      metrics: { pearson: pearson(cosines, wanted), spearman: pearson(ranks(cosines), ranks(wanted)) },
    }),
  };
}
