/** Weighted sums of arrays, computed in float64 and rounded once. */

export function mix(...terms: readonly (readonly [factor: number, values: Float32Array])[]): Float32Array {
  const sum = new Float32Array(terms[0]![1].length);
  for (let i = 0; i < sum.length; i++) {
    let total = 0;
    for (const [factor, values] of terms) total += factor * values[i]!;
    sum[i] = total;
  }
  return sum;
}

/** Values within −limit and limit. */
export function clipped(values: Float32Array, limit: number): Float32Array {
  return values.map((value) => Math.max(-limit, Math.min(limit, value)));
}
