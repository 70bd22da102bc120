/** Float matrices as signed bytes with a scale a column: symmetric, largest magnitude at `levels`. */

export interface QuantiseShape {
  readonly K: number;
  readonly M: number;
  /** Whether `values` lie as [M, K] instead of [K, M]. */
  readonly transposed: boolean;
  readonly levels: number;
}

/** The scale of each column [M]: its largest magnitude over `levels`. */
export function columnScales(values: Float32Array, { K, M, transposed, levels }: QuantiseShape): Float32Array {
  const [rowStride, columnStride] = transposed ? [1, K] : [M, 1];
  const scales = new Float32Array(M);
  eachTile(K, M, (k0, k1, m0, m1) => {
    for (let m = m0; m < m1; m++) {
      let largest = scales[m]!;
      for (let k = k0; k < k1; k++) largest = Math.max(largest, Math.abs(values[k * rowStride + m * columnStride]!));
      scales[m] = largest;
    }
  });
  return scales.map((largest) => largest / levels);
}

/** The bytes [K, M]: values ≈ bytes · scales, which are columnScales. */
export function quantiseColumns(
  values: Float32Array,
  shape: QuantiseShape,
  scales: Float32Array = columnScales(values, shape),
): Int8Array {
  const { K, M, transposed } = shape;
  const [rowStride, columnStride] = transposed ? [1, K] : [M, 1];
  const inverse = scales.map((scale) => (scale > 0 ? 1 / scale : 0));
  const bytes = new Int8Array(K * M);
  eachTile(K, M, (k0, k1, m0, m1) => {
    for (let k = k0; k < k1; k++) {
      for (let m = m0; m < m1; m++)
        bytes[k * M + m] = Math.round(values[k * rowStride + m * columnStride]! * inverse[m]!);
    }
  });
  return bytes;
}

/** Takes from each column [K, M] its mean, and gives the means [M]. */
export function centreColumns(values: Float32Array, { K, M, transposed }: QuantiseShape): Float32Array {
  const [rowStride, columnStride] = transposed ? [1, K] : [M, 1];
  const sums = new Float64Array(M);
  eachTile(K, M, (k0, k1, m0, m1) => {
    for (let m = m0; m < m1; m++) {
      for (let k = k0; k < k1; k++) sums[m]! += values[k * rowStride + m * columnStride]!;
    }
  });
  const means = Float32Array.from(sums, (sum) => sum / K);
  eachTile(K, M, (k0, k1, m0, m1) => {
    for (let m = m0; m < m1; m++) {
      for (let k = k0; k < k1; k++) values[k * rowStride + m * columnStride]! -= means[m]!;
    }
  });
  return means;
}

/** Visits a matrix in tiles that stay in the cache whichever way it lies. */
function eachTile(K: number, M: number, visit: (k0: number, k1: number, m0: number, m1: number) => void): void {
  const side = 64;
  for (let k = 0; k < K; k += side) {
    for (let m = 0; m < M; m += side) visit(k, Math.min(K, k + side), m, Math.min(M, m + side));
  }
}
