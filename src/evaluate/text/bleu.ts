/** BLEU (Papineni et al. 2002): geometric mean of clipped n-gram precisions, times a penalty for short output. */

import { mostOften, ngramCounts, type Segment } from "./tokens.ts";

/** Of a whole corpus, 0 to 100; the reference length is the nearest one's, the shorter of two as near. 0 when an order matches nowhere. */
export function bleu(segments: readonly Segment[], order = 4): number {
  const [matches, totals] = [new Array<number>(order).fill(0), new Array<number>(order).fill(0)];
  let [length, referenceLength] = [0, 0];
  for (const { hypothesis, references } of segments) {
    length += hypothesis.length;
    referenceLength += nearest(
      references.map((each) => each.length),
      hypothesis.length,
    );
    for (let n = 1; n <= order; n++) {
      const allowed = mostOften(references, n);
      for (const [key, count] of ngramCounts(hypothesis, n)) {
        matches[n - 1]! += Math.min(count, allowed.get(key) ?? 0);
        totals[n - 1]! += count;
      }
    }
  }
  if (matches.some((count) => count === 0)) return 0;
  const logs = matches.reduce((sum, count, i) => sum + Math.log(count / totals[i]!), 0);
  const brevity = length > referenceLength ? 1 : Math.exp(1 - referenceLength / length);
  return 100 * brevity * Math.exp(logs / order);
}

function nearest(lengths: readonly number[], length: number): number {
  return lengths.toSorted((a, b) => Math.abs(a - length) - Math.abs(b - length) || a - b)[0]!;
}
