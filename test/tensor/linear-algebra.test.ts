import { describe, expect, test } from "vitest";
import { multiply, qr, randomisedSvd, svd, transpose } from "../../src/tensor/linear-algebra.ts";
import { randomStream } from "../../src/tensor/random.ts";

const SHAPES = [
  [1, 1],
  [5, 5],
  [7, 3],
  [3, 7],
  [40, 24],
  [1, 6],
  [6, 1],
] as const;

function matrix(m: number, n: number, seed = 1): Float64Array {
  const random = randomStream(seed, m, n);
  return Float64Array.from({ length: m * n }, () => random.normal());
}

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}

function identity(n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}

function rebuilt({ u, s, vt }: ReturnType<typeof svd>, m: number, n: number): Float64Array {
  return multiply(
    u.map((value, i) => value * s[i % s.length]!),
    vt,
    m,
    s.length,
    n,
  );
}

describe.each(SHAPES)("[%i, %i]", (m, n) => {
  const a = matrix(m, n);
  const k = Math.min(m, n);

  test("qr", () => {
    const { q, r } = qr(a, m, n);
    expect(difference(multiply(q, r, m, k, n), a)).toBeLessThan(1e-13);
    expect(difference(multiply(transpose(q, m, k), q, k, m, k), identity(k))).toBeLessThan(1e-14);
    for (let i = 0; i < k; i++) for (let j = 0; j < i; j++) expect(r[i * n + j]).toBe(0);
  });

  test("svd", () => {
    const { u, s, vt } = svd(a, m, n);
    expect(difference(rebuilt({ u, s, vt }, m, n), a)).toBeLessThan(1e-13);
    expect(difference(multiply(transpose(u, m, k), u, k, m, k), identity(k))).toBeLessThan(1e-13);
    expect(difference(multiply(vt, transpose(vt, k, n), k, n, k), identity(k))).toBeLessThan(1e-13);
    expect([...s]).toEqual([...s].sort((x, y) => y - x));
  });
});

test("singular values are NumPy's", () => {
  // numpy.linalg.svd(numpy.sin(numpy.arange(1, 21) ** 1.5).reshape(4, 5)), and the 8 x 8 Hilbert matrix
  const sines = Float64Array.from({ length: 20 }, (_, i) => Math.sin((i + 1) ** 1.5));
  expect(difference(svd(sines, 4, 5).s, SINES)).toBeLessThan(1e-14);
  const hilbert = Float64Array.from({ length: 64 }, (_, i) => 1 / ((i >> 3) + (i % 8) + 1));
  const { s } = svd(hilbert, 8, 8);
  expect(difference(s, HILBERT)).toBeLessThan(1e-15);
  // Only Jacobi has the smallest one right: 1.11153896639e-10 (Hilbert matrices' condition numbers, 1.5257575e10).
  expect(s[0]! / s[7]!).toBeCloseTo(1.5257575e10, -4);
});

test("matrices without full rank, zeros, equal and far apart singular values", () => {
  const low = multiply(matrix(20, 3), matrix(3, 12, 2), 20, 3, 12);
  for (const [a, m, n] of [
    [low, 20, 12],
    [transpose(low, 20, 12), 12, 20],
    [new Float64Array(12), 4, 3],
    [identity(6), 6, 6],
    [Float64Array.of(1e150, 0, 0, 1e-150), 2, 2],
    [Float64Array.of(1, 1, 1, 1, 1, 1), 3, 2],
  ] as const) {
    const k = Math.min(m, n);
    const { u, s, vt } = svd(a, m, n);
    expect(difference(rebuilt({ u, s, vt }, m, n), a)).toBeLessThanOrEqual(1e-13 * Math.max(1, s[0]!));
    expect(difference(multiply(transpose(u, m, k), u, k, m, k), identity(k))).toBeLessThan(1e-13);
    expect(difference(multiply(vt, transpose(vt, k, n), k, n, k), identity(k))).toBeLessThan(1e-13);
  }
  expect([...svd(Float64Array.of(1e150, 0, 0, 1e-150), 2, 2).s]).toEqual([1e150, 1e-150]);
});

test("random projections find a low rank exactly and a decaying spectrum closely, the same on every run", () => {
  const low = multiply(matrix(60, 4), matrix(4, 50, 2), 60, 4, 50);
  const found = randomisedSvd(low, 60, 50, 4, 1, randomStream(3));
  expect(difference(rebuilt(found, 60, 50), low)).toBeLessThan(1e-12);
  const { u, vt } = svd(matrix(50, 50, 5), 50, 50);
  const decaying = multiply(
    u.map((value, i) => value * 0.8 ** (i % 50)),
    vt,
    50,
    50,
    50,
  );
  const first = randomisedSvd(decaying, 50, 50, 6, 4, randomStream(3));
  expect(first.u.length).toBe(300);
  for (let i = 0; i < 6; i++) expect(first.s[i]).toBeCloseTo(0.8 ** i, 6);
  expect(randomisedSvd(decaying, 50, 50, 6, 4, randomStream(3))).toEqual(first);
});

const SINES = [2.339832762206237, 2.1484816983095993, 1.5379239234313395, 0.5925311815775202];
const HILBERT = [
  1.6959389969219496, 0.2981252113169307, 0.026212843578119035, 0.0014676881177418473, 5.436943369751095e-5,
  1.2943320918745527e-6, 1.7988737457436082e-8, 1.1115389793345086e-10,
];
