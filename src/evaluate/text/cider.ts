/**
 * CIDEr (Vedantam et al. 2015), in the form that the COCO captions evaluation computes (CIDEr-D with document
 * frequencies of the references): cosine of TF-IDF vectors of n-grams, clipped, less for other lengths, times 10.
 */

import { ngramCounts, type Segment } from "./tokens.ts";

const ORDER = 4;
const SIGMA = 6;

interface Vector {
  /** TF-IDF by n-gram, for each order. */
  readonly weights: readonly ReadonlyMap<string, number>[];
  readonly norms: readonly number[];
  /** Bigrams, which stand for the length. */
  readonly length: number;
}

/** Mean over segments; every segment counts as one document. */
export function cider(segments: readonly Segment[]): number {
  const documents = new Map<string, number>();
  for (const { references } of segments) {
    const seen = new Set(
      references.flatMap((reference) => orders().flatMap((n) => [...ngramCounts(reference, n).keys()])),
    );
    for (const key of seen) documents.set(key, (documents.get(key) ?? 0) + 1);
  }
  const logCount = Math.log(segments.length);
  const vector = (tokens: readonly string[]): Vector => {
    const weights = orders().map(
      (n) =>
        new Map(
          [...ngramCounts(tokens, n)].map(([key, count]) => [
            key,
            count * (logCount - Math.log(Math.max(1, documents.get(key) ?? 0))),
          ]),
        ),
    );
    const norms = weights.map((each) => Math.sqrt([...each.values()].reduce((sum, value) => sum + value ** 2, 0)));
    return { weights, norms, length: Math.max(0, tokens.length - 1) };
  };
  const scores = segments.map(({ hypothesis, references }) => {
    const own = vector(hypothesis);
    const sums = references.map((reference) => similarity(own, vector(reference)));
    return (10 * sums.reduce((sum, each) => sum + each, 0)) / references.length;
  });
  return scores.reduce((sum, each) => sum + each, 0) / scores.length;
}

function similarity(hypothesis: Vector, reference: Vector): number {
  const penalty = Math.exp(-((hypothesis.length - reference.length) ** 2) / (2 * SIGMA ** 2));
  const cosines = hypothesis.weights.map((weights, i) => {
    let sum = 0;
    for (const [key, value] of weights) {
      const other = reference.weights[i]!.get(key) ?? 0;
      sum += Math.min(value, other) * other;
    }
    const norm = hypothesis.norms[i]! * reference.norms[i]!;
    return norm === 0 ? sum : sum / norm;
  });
  return (penalty * cosines.reduce((sum, each) => sum + each, 0)) / ORDER;
}

function orders(): number[] {
  return Array.from({ length: ORDER }, (_, i) => i + 1);
}
