/**
 * METEOR (Banerjee and Lavie 2005) with exact and stem matches: a mean that favours recall, less for matches in many
 * pieces. Alignment as in NLTK `meteor_score` (from the last word on, each with the last free equal one); no synonyms.
 */

import { stemmer } from "stemmer";
import type { Segment } from "./tokens.ts";

const ALPHA = 0.9;
const BETA = 3;
const GAMMA = 0.5;

/** Mean over segments of the best reference's score, 0 to 1. */
export function meteor(segments: readonly Segment[]): number {
  const scores = segments.map(({ hypothesis, references }) =>
    Math.max(...references.map((reference) => score(hypothesis, reference))),
  );
  return scores.reduce((sum, each) => sum + each, 0) / scores.length;
}

function score(hypothesis: readonly string[], reference: readonly string[]): number {
  const pairs = align(hypothesis, reference);
  if (pairs.length === 0) return 0;
  const precision = pairs.length / hypothesis.length;
  const recall = pairs.length / reference.length;
  const mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall);
  const chunks = pairs.filter(([i, j], at) => {
    const before = pairs[at - 1];
    return !before || i !== before[0] + 1 || j !== before[1] + 1;
  }).length;
  return mean * (1 - GAMMA * (chunks / pairs.length) ** BETA);
}

type Pair = readonly [hypothesis: number, reference: number];

/** Matched places, in the order of the hypothesis: first equal words, then equal stems of what is left. */
function align(hypothesis: readonly string[], reference: readonly string[]): Pair[] {
  const pairs: Pair[] = [];
  let [left, right] = [[...hypothesis.keys()], [...reference.keys()]];
  for (const form of [(word: string) => word, stemmer]) {
    const free = new Map<string, number[]>();
    for (const j of right) {
      const word = form(reference[j]!);
      free.set(word, [...(free.get(word) ?? []), j]);
    }
    const found: Pair[] = [];
    for (const i of left.toReversed()) {
      const j = free.get(form(hypothesis[i]!))?.pop();
      if (j !== undefined) found.push([i, j]);
    }
    const [taken, used] = [new Set(found.map(([i]) => i)), new Set(found.map(([, j]) => j))];
    left = left.filter((i) => !taken.has(i));
    right = right.filter((j) => !used.has(j));
    pairs.push(...found);
  }
  return pairs.toSorted(([a], [b]) => a - b);
}
