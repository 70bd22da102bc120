/**
 * Small dense linear algebra in float64: QR by Householder reflections, singular values by one-sided Jacobi rotations
 * (Demmel and Veselić 1992: small singular values keep their relative accuracy) and by random projections (Halko,
 * Martinsson and Tropp 2011, arXiv:0909.4061, algorithms 4.4 and 5.1). Matrices are row-major. Everything is
 * deterministic: the same input gives the same bits.
 */

import type { Random } from "./random.ts";

/** a = u · diag(s) · vt, with s descending, orthonormal columns in u and orthonormal rows in vt. */
export interface Svd {
  /** [m, k] */
  readonly u: Float64Array;
  /** [k] */
  readonly s: Float64Array;
  /** [k, n] */
  readonly vt: Float64Array;
}

export interface Qr {
  /** [m, k], orthonormal columns. */
  readonly q: Float64Array;
  /** [k, n], upper triangular. */
  readonly r: Float64Array;
}

/** Sweeps over all pairs; convergence is quadratic and takes six to twelve. */
const SWEEP_LIMIT = 60;
/** Columns that random projections take beyond the wanted rank. */
const OVERSAMPLING = 10;

/** The transpose [n, m] of a [m, n]. */
export function transpose(a: ArrayLike<number>, m: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j]!;
  return out;
}

/** The product [m, n] of a [m, k] and b [k, n]. */
export function multiply(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) addScaled(out, i * n, b, p * n, n, a[i * k + p]!);
  }
  return out;
}

/** a [m, n] = q · r, with k = min(m, n). */
export function qr(a: ArrayLike<number>, m: number, n: number): Qr {
  const k = Math.min(m, n);
  // Columns of `a` as rows, so that reflections run over memory in order; a reflector replaces the column's tail.
  const columns = transpose(a, m, n);
  const diagonal = new Float64Array(k);
  const scales = new Float64Array(k);
  const reflect = (data: Float64Array, row: number, j: number): void => {
    const product = dot(data, row * m + j, columns, j * m + j, m - j);
    addScaled(data, row * m + j, columns, j * m + j, m - j, -scales[j]! * product);
  };
  for (let j = 0; j < k; j++) {
    const head = j * m + j;
    const norm = Math.sqrt(dot(columns, head, columns, head, m - j));
    if (norm === 0) continue;
    const first = columns[head]!;
    diagonal[j] = first > 0 ? -norm : norm;
    columns[head] = first - diagonal[j]!;
    scales[j] = 1 / (norm * (norm + Math.abs(first))); // 2 / ‖reflector‖²
    for (let c = j + 1; c < n; c++) reflect(columns, c, j);
  }
  const r = new Float64Array(k * n);
  for (let i = 0; i < k; i++) {
    r[i * n + i] = diagonal[i]!;
    for (let j = i + 1; j < n; j++) r[i * n + j] = columns[j * m + i]!;
  }
  const q = new Float64Array(k * m); // transposed until the end
  for (let i = 0; i < k; i++) q[i * m + i] = 1;
  for (let j = k - 1; j >= 0; j--) for (let c = j; c < k; c++) reflect(q, c, j);
  return { q: transpose(q, k, m), r };
}

/** The thin decomposition of a [m, n], k = min(m, n). Takes about 10·k³ multiplications: for k up to some hundreds. */
export function svd(a: ArrayLike<number>, m: number, n: number): Svd {
  if (m < n) {
    const { u, s, vt } = svd(transpose(a, m, n), n, m);
    return { u: transpose(vt, m, m), s, vt: transpose(u, n, m) };
  }
  // a = q·r; rotating the rows of r until they are orthogonal gives r = jᵀ·diag(s)·vt.
  const { q, r } = qr(a, m, n);
  const j = new Float64Array(n * n);
  for (let i = 0; i < n; i++) j[i * n + i] = 1;
  orthogonaliseRows(r, j, n);
  const norms = Float64Array.from({ length: n }, (_, i) => Math.sqrt(dot(r, i * n, r, i * n, n)));
  const order = [...norms.keys()].sort((x, y) => norms[y]! - norms[x]! || x - y);
  const s = Float64Array.from(order, (i) => norms[i]!);
  const vt = new Float64Array(n * n);
  const left = new Float64Array(n * n); // columns: rows of j in their order
  order.forEach((from, to) => {
    if (norms[from]! > 0) addScaled(vt, to * n, r, from * n, n, 1 / norms[from]!);
    for (let i = 0; i < n; i++) left[i * n + to] = j[from * n + i]!;
  });
  completeRows(vt, s, n);
  return { u: multiply(q, left, m, n, n), s, vt };
}

/**
 * The `rank` largest singular values and their vectors, approximately: a random subspace is refined by `iterations` of
 * power iteration, orthonormalised each time, and the matrix decomposed in it. Exact for matrices of that rank.
 */
export function randomisedSvd(
  a: ArrayLike<number>,
  m: number,
  n: number,
  rank: number,
  iterations: number,
  random: Random,
  oversampling: number = OVERSAMPLING,
): Svd {
  const k = Math.min(rank, m, n);
  const width = Math.min(k + oversampling, m, n);
  const at = transpose(a, m, n);
  const start = Float64Array.from({ length: n * width }, () => random.normal());
  let basis = qr(multiply(a, start, m, n, width), m, width).q; // [m, width]
  for (let i = 0; i < iterations; i++) {
    const back = qr(multiply(at, basis, n, m, width), n, width).q;
    basis = qr(multiply(a, back, m, n, width), m, width).q;
  }
  const small = svd(multiply(transpose(basis, m, width), a, width, m, n), width, n);
  const u = multiply(basis, small.u, m, width, width);
  return truncate({ u, s: small.s, vt: small.vt }, m, n, k);
}

/** The first `rank` singular values of a decomposition of an [m, n] matrix, and their vectors. */
export function truncate({ u, s, vt }: Svd, m: number, n: number, rank: number): Svd {
  const held = s.length;
  const k = Math.min(rank, held);
  const kept = new Float64Array(m * k);
  for (let i = 0; i < m; i++) for (let j = 0; j < k; j++) kept[i * k + j] = u[i * held + j]!;
  return { u: kept, s: s.slice(0, k), vt: vt.slice(0, k * n) };
}

/** Rotates pairs of rows of r [n, n] until all are orthogonal; the rows of `turned` take the same rotations. */
function orthogonaliseRows(r: Float64Array, turned: Float64Array, n: number): void {
  const tolerance = Number.EPSILON * Math.sqrt(n);
  const squares = new Float64Array(n);
  for (let sweep = 0; sweep < SWEEP_LIMIT; sweep++) {
    for (let i = 0; i < n; i++) squares[i] = dot(r, i * n, r, i * n, n);
    let rotated = false;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        const [alpha, beta] = [squares[p]!, squares[q]!];
        if (alpha === 0 || beta === 0) continue;
        const gamma = dot(r, p * n, r, q * n, n);
        if (Math.abs(gamma) <= tolerance * Math.sqrt(alpha) * Math.sqrt(beta)) continue;
        rotated = true;
        const zeta = (beta - alpha) / (2 * gamma);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, t);
        rotate(r, p * n, q * n, n, cosine, cosine * t);
        rotate(turned, p * n, q * n, n, cosine, cosine * t);
        squares[p] = Math.max(0, alpha - t * gamma);
        squares[q] = beta + t * gamma;
      }
    }
    if (!rotated) return;
  }
}

function rotate(data: Float64Array, p: number, q: number, n: number, cosine: number, sine: number): void {
  for (let i = 0; i < n; i++) {
    const [x, y] = [data[p + i]!, data[q + i]!];
    data[p + i] = cosine * x - sine * y;
    data[q + i] = sine * x + cosine * y;
  }
}

/** Rows that belong to singular values of 0 become any that complete an orthonormal basis. */
function completeRows(vt: Float64Array, s: Float64Array, n: number): void {
  let unit = 0;
  for (let row = s.indexOf(0); row >= 0 && row < n; row++) {
    const at = row * n;
    let length = 0;
    while (length < 0.5 / Math.sqrt(n)) {
      vt.fill(0, at, at + n);
      vt[at + unit++] = 1;
      // Two passes: the second removes what rounding left of the first.
      for (let other = 0; other < 2 * row; other++) {
        const from = (other % row) * n;
        addScaled(vt, at, vt, from, n, -dot(vt, at, vt, from, n));
      }
      length = Math.sqrt(dot(vt, at, vt, at, n));
    }
    for (let i = at; i < at + n; i++) vt[i]! /= length;
  }
}

function dot(a: Float64Array, from: number, b: Float64Array, at: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[from + i]! * b[at + i]!;
  return sum;
}

/** out += factor · b over `count` elements. */
function addScaled(
  out: Float64Array,
  from: number,
  b: ArrayLike<number>,
  at: number,
  count: number,
  factor: number,
): void {
  if (factor === 0) return;
  for (let i = 0; i < count; i++) out[from + i]! += factor * b[at + i]!;
}
