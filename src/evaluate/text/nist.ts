/**
 * NIST (Doddington 2002): n-gram matches weighed by how much they tell, log2(count of the n-gram without its last word /
 * its own count) in the references; arithmetic mean over orders, times a penalty that halves at two thirds of the length.
 */

import { mostOften, ngramCounts, type Segment } from "./tokens.ts";

const BETA = Math.log(0.5) / Math.log(1.5) ** 2;

/** Of a whole corpus; the reference length is the mean of a segment's references, as in mteval. */
export function nist(segments: readonly Segment[], order = 5): number {
  const counts = Array.from({ length: order + 1 }, () => new Map<string, number>());
  let [length, referenceLength] = [0, 0];
  for (const { hypothesis, references } of segments) {
    length += hypothesis.length;
    const words = references.reduce((sum, each) => sum + each.length, 0);
    referenceLength += words / references.length;
    counts[0]!.set("", (counts[0]!.get("") ?? 0) + words);
    for (const reference of references) {
      for (let n = 1; n <= order; n++) {
        for (const [key, count] of ngramCounts(reference, n)) counts[n]!.set(key, (counts[n]!.get(key) ?? 0) + count);
      }
    }
  }
  const information = (key: string, n: number): number => {
    const shorter = n === 1 ? "" : key.slice(0, key.lastIndexOf(" "));
    return Math.log2(counts[n - 1]!.get(shorter)! / counts[n]!.get(key)!);
  };
  let sum = 0;
  for (let n = 1; n <= order; n++) {
    let [told, total] = [0, 0];
    for (const { hypothesis, references } of segments) {
      const allowed = mostOften(references, n);
      for (const [key, count] of ngramCounts(hypothesis, n)) {
        total += count;
        const matched = Math.min(count, allowed.get(key) ?? 0);
        if (matched > 0) told += matched * information(key, n);
      }
    }
    if (total > 0) sum += told / total;
  }
  const ratio = length / referenceLength;
  return ratio >= 1 ? sum : ratio === 0 ? 0 : sum * Math.exp(BETA * Math.log(ratio) ** 2);
}
