/**
 * Words of generated and reference texts as metrics count them: mteval-v13a's tokens, in lower case as the E2E and DART
 * evaluations take them.
 */

/** A text's tokens: punctuation apart, but for commas and points inside numbers. Source: NIST mteval-v13a, NormalizeText. */
export function metricTokens(text: string): string[] {
  const plain = text
    .replaceAll("<skipped>", "")
    .replace(/-\n/g, "")
    .replaceAll("\n", " ")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .toLowerCase();
  const apart = ` ${plain} `
    .replace(/([{-~[-` -&(-+:-@/])/g, " $1 ")
    .replace(/([^0-9])([.,])/g, "$1 $2 ")
    .replace(/([.,])([^0-9])/g, " $1 $2")
    .replace(/([0-9])(-)/g, "$1 $2 ")
    .trim();
  return apart === "" ? [] : apart.split(/\s+/);
}

/** How often each run of n tokens occurs, by its tokens between spaces, which tokens do not hold. */
export function ngramCounts(tokens: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= tokens.length; i++) {
    const key = tokens.slice(i, i + n).join(" ");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** Of each n-gram, as often as the reference that has it most. */
export function mostOften(references: readonly (readonly string[])[], n: number): Map<string, number> {
  const most = new Map<string, number>();
  for (const reference of references) {
    for (const [key, count] of ngramCounts(reference, n)) most.set(key, Math.max(most.get(key) ?? 0, count));
  }
  return most;
}

/** One generated text and the texts that people wrote for the same input, as tokens. */
export interface Segment {
  readonly hypothesis: readonly string[];
  readonly references: readonly (readonly string[])[];
}
