/** ROUGE-L (Lin 2004): the longest common subsequence as a share of output and reference. */

import type { Segment } from "./tokens.ts";

/** Weight of recall against precision, as the COCO captions evaluation sets it. */
const BETA = 1.2;

/** Mean over segments, 0 to 1; of several references the best precision and the best recall count. */
export function rougeL(segments: readonly Segment[]): number {
  const scores = segments.map(({ hypothesis, references }) => {
    const common = references.map((reference) => longestCommon(hypothesis, reference));
    const precision = Math.max(...common.map((length) => share(length, hypothesis.length)));
    const recall = Math.max(...common.map((length, i) => share(length, references[i]!.length)));
    if (precision === 0 || recall === 0) return 0;
    return ((1 + BETA ** 2) * precision * recall) / (recall + BETA ** 2 * precision);
  });
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function longestCommon(a: readonly string[], b: readonly string[]): number {
  let row = new Array<number>(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    for (let j = 1; j <= b.length; j++) {
      next.push(word === b[j - 1] ? row[j - 1]! + 1 : Math.max(row[j]!, next[j - 1]!));
    }
    row = next;
  }
  return row[b.length]!;
}
