/** Decompositions in float64 that initial values rest on. Matrices are row-major. */

import type { Random } from "../tensor/random.ts";

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: ArrayLike<number>;
}

/** The `r` right singular vectors of the largest singular values, as rows [r][columns], and these values. */
export interface RightVectors {
  readonly vectors: readonly Float64Array[];
  readonly values: readonly number[];
}

/** Exact: by the eigenvectors of the smaller of M·Mᵀ and Mᵀ·M. */
export function rightSingular(matrix: Matrix, r: number): RightVectors {
  const wide = matrix.rows < matrix.columns;
  const { values, vectors } = symmetricEigen(gramMatrix(matrix, wide));
  const order = values.map((_, i) => i).toSorted((a, b) => values[b]! - values[a]!);
  const found = order.slice(0, r).map((i) => {
    const value = Math.sqrt(Math.max(0, values[i]!));
    const vector = vectors.map((row) => row[i]!);
    return { value, vector: wide ? unit(timesTransposed(matrix, vector)) : Float64Array.from(vector) };
  });
  return { values: found.map(({ value }) => value), vectors: found.map(({ vector }) => vector) };
}

/** Approximate, by subspace iteration from random columns (Halko et al. 2011, algorithm 4.4). */
export function randomRightSingular(matrix: Matrix, r: number, iterations: number, random: Random): RightVectors {
  let basis = orthonormal(
    Array.from({ length: r }, () => {
      const direction = Float64Array.from({ length: matrix.columns }, () => random.normal());
      return times(matrix, direction);
    }),
  );
  for (let i = 0; i < iterations; i++) {
    const right = orthonormal(basis.map((vector) => timesTransposed(matrix, vector)));
    basis = orthonormal(right.map((vector) => times(matrix, vector)));
  }
  const small = basis.map((vector) => timesTransposed(matrix, vector)); // Qᵀ·M [r][columns]
  const data = Float64Array.from(small.flatMap((row) => [...row]));
  return rightSingular({ rows: r, columns: matrix.columns, data }, r);
}

/** Q of the first `r` columns, as columns [r][rows], with LAPACK's signs: Householder reflections. */
export function leadingQ({ rows, columns, data }: Matrix, r: number): Float64Array[] {
  const held = Array.from({ length: r }, (_, j) =>
    Float64Array.from({ length: rows }, (_row, i) => data[i * columns + j]!),
  );
  const reflections: Float64Array[] = [];
  for (let k = 0; k < r; k++) {
    const column = held[k]!;
    let norm = 0;
    for (let i = k; i < rows; i++) norm = Math.hypot(norm, column[i]!);
    const reflection = new Float64Array(rows);
    for (let i = k; i < rows; i++) reflection[i] = column[i]!;
    reflection[k]! += column[k]! < 0 ? -norm : norm;
    reflections.push(unit(reflection));
    for (let j = k; j < r; j++) reflect(held[j]!, reflections[k]!);
  }
  return Array.from({ length: r }, (_, j) => {
    const column = new Float64Array(rows);
    column[j] = 1;
    for (const reflection of reflections.toReversed()) reflect(column, reflection);
    return column;
  });
}

/** M·x */
export function times({ rows, columns, data }: Matrix, x: ArrayLike<number>): Float64Array {
  const y = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += data[i * columns + j]! * x[j]!;
    y[i] = sum;
  }
  return y;
}

/** Mᵀ·x */
export function timesTransposed({ rows, columns, data }: Matrix, x: ArrayLike<number>): Float64Array {
  const y = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    const factor = x[i]!;
    for (let j = 0; j < columns; j++) y[j]! += factor * data[i * columns + j]!;
  }
  return y;
}

function reflect(x: Float64Array, direction: Float64Array): void {
  const along = 2 * dot(x, direction);
  for (let i = 0; i < x.length; i++) x[i]! -= along * direction[i]!;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function unit(x: Float64Array): Float64Array {
  const length = Math.sqrt(dot(x, x));
  return length === 0 ? x : x.map((value) => value / length);
}

/** Gram and Schmidt, twice over, so that rounding leaves them orthogonal. */
function orthonormal(vectors: readonly Float64Array[]): Float64Array[] {
  const done: Float64Array[] = [];
  for (const vector of vectors) {
    let x = vector;
    for (let pass = 0; pass < 2; pass++) {
      for (const other of done) {
        const along = dot(x, other);
        x = x.map((value, i) => value - along * other[i]!);
      }
      x = unit(x);
    }
    done.push(x);
  }
  return done;
}

/** M·Mᵀ, or Mᵀ·M. */
function gramMatrix({ rows, columns, data }: Matrix, outer: boolean): Float64Array[] {
  if (outer) {
    const lines = Array.from({ length: rows }, (_, i) =>
      Float64Array.from({ length: columns }, (_column, j) => data[i * columns + j]!),
    );
    return lines.map((a) => Float64Array.from(lines, (b) => dot(a, b)));
  }
  const sums = Array.from({ length: columns }, () => new Float64Array(columns));
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const factor = data[i * columns + j]!;
      const line = sums[j]!;
      for (let k = 0; k < columns; k++) line[k]! += factor * data[i * columns + k]!;
    }
  }
  return sums;
}

/**
 * Eigenvalues, and eigenvectors as columns, of a symmetric matrix: Householder's tridiagonal form, then implicit QL
 * (Bowdler, Martin, Reinsch and Wilkinson 1968: tred2 and tql2). The matrix is overwritten.
 */
function symmetricEigen(V: Float64Array[]): { values: number[]; vectors: Float64Array[] } {
  const n = V.length;
  const d = Float64Array.from(V[n - 1]!);
  const e = new Float64Array(n);
  tridiagonalise(V, d, e);
  diagonalise(V, d, e);
  return { values: [...d], vectors: V };
}

function tridiagonalise(V: Float64Array[], d: Float64Array, e: Float64Array): void {
  const n = V.length;
  for (let i = n - 1; i > 0; i--) {
    let scale = 0;
    let h = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(d[k]!);
    if (scale === 0) {
      e[i] = d[i - 1]!;
      for (let j = 0; j < i; j++) {
        d[j] = V[i - 1]![j]!;
        V[i]![j] = 0;
        V[j]![i] = 0;
      }
    } else {
      for (let k = 0; k < i; k++) {
        d[k]! /= scale;
        h += d[k]! * d[k]!;
      }
      const f = d[i - 1]!;
      const g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h);
      e[i] = scale * g;
      h -= f * g;
      d[i - 1] = f - g;
      e.fill(0, 0, i);
      for (let j = 0; j < i; j++) {
        const at = d[j]!;
        V[j]![i] = at;
        let sum = e[j]! + V[j]![j]! * at;
        for (let k = j + 1; k < i; k++) {
          sum += V[k]![j]! * d[k]!;
          e[k]! += V[k]![j]! * at;
        }
        e[j] = sum;
      }
      let total = 0;
      for (let j = 0; j < i; j++) {
        e[j]! /= h;
        total += e[j]! * d[j]!;
      }
      const half = total / (h + h);
      for (let j = 0; j < i; j++) e[j]! -= half * d[j]!;
      for (let j = 0; j < i; j++) {
        for (let k = j; k < i; k++) V[k]![j]! -= d[j]! * e[k]! + e[j]! * d[k]!;
        d[j] = V[i - 1]![j]!;
        V[i]![j] = 0;
      }
    }
    d[i] = h;
  }
  for (let i = 0; i < n - 1; i++) {
    V[n - 1]![i] = V[i]![i]!;
    V[i]![i] = 1;
    const h = d[i + 1]!;
    if (h !== 0) {
      for (let k = 0; k <= i; k++) d[k] = V[k]![i + 1]! / h;
      for (let j = 0; j <= i; j++) {
        let g = 0;
        for (let k = 0; k <= i; k++) g += V[k]![i + 1]! * V[k]![j]!;
        for (let k = 0; k <= i; k++) V[k]![j]! -= g * d[k]!;
      }
    }
    for (let k = 0; k <= i; k++) V[k]![i + 1] = 0;
  }
  for (let j = 0; j < n; j++) {
    d[j] = V[n - 1]![j]!;
    V[n - 1]![j] = 0;
  }
  V[n - 1]![n - 1] = 1;
  e[0] = 0;
}

function diagonalise(V: Float64Array[], d: Float64Array, e: Float64Array): void {
  const n = V.length;
  e.copyWithin(0, 1);
  e[n - 1] = 0;
  let f = 0;
  let largest = 0;
  for (let l = 0; l < n; l++) {
    largest = Math.max(largest, Math.abs(d[l]!) + Math.abs(e[l]!));
    let m = l;
    while (m < n - 1 && Math.abs(e[m]!) > Number.EPSILON * largest) m++;
    while (m > l && Math.abs(e[l]!) > Number.EPSILON * largest) {
      let g = d[l]!;
      let p = (d[l + 1]! - g) / (2 * e[l]!);
      let r = p < 0 ? -Math.hypot(p, 1) : Math.hypot(p, 1);
      d[l] = e[l]! / (p + r);
      d[l + 1] = e[l]! * (p + r);
      const next = d[l + 1]!;
      let h = g - d[l]!;
      for (let i = l + 2; i < n; i++) d[i]! -= h;
      f += h;
      p = d[m]!;
      let [c, c2, c3, s, s2] = [1, 1, 1, 0, 0];
      const after = e[l + 1]!;
      for (let i = m - 1; i >= l; i--) {
        [c3, c2, s2] = [c2, c, s];
        g = c * e[i]!;
        h = c * p;
        r = Math.hypot(p, e[i]!);
        e[i + 1] = s * r;
        s = e[i]! / r;
        c = p / r;
        p = c * d[i]! - s * g;
        d[i + 1] = h + s * (c * g + s * d[i]!);
        for (let k = 0; k < n; k++) {
          const row = V[k]!;
          const high = row[i + 1]!;
          row[i + 1] = s * row[i]! + c * high;
          row[i] = c * row[i]! - s * high;
        }
      }
      p = (-s * s2 * c3 * after * e[l]!) / next;
      e[l] = s * p;
      d[l] = c * p;
    }
    d[l]! += f;
    e[l] = 0;
  }
}
