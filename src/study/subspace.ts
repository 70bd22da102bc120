/**
 * How much two low-rank spaces have in common.
 * Source: Hu et al. 2021 (arXiv:2106.09685), section 7.2 equation 4 and appendix G.
 */

import { qr } from "../tensor/linear-algebra.ts";
import { randomStream } from "../tensor/random.ts";

/** Orthonormal rows [k, width]. */
export interface Basis {
  readonly vectors: Float64Array;
  readonly k: number;
  readonly width: number;
}

/**
 * φ(i, j) = ‖U₁ᵢᵀ U₂ⱼ‖²_F / min(i, j) for the first i vectors of one basis and the first j of the other, 1 ≤ i ≤ k₁,
 * 1 ≤ j ≤ k₂: 1 when the smaller space lies in the larger, 0 when they are orthogonal. It is 1 − d²/p with the
 * projection metric d² = p − Σσᵢ² and p = min(i, j); appendix G prints (1/p)(1 − d²), which its own definitions rule out.
 * Returns [k₁, k₂], row by row. Throws RangeError for bases of different widths.
 */
export function similarity(first: Basis, second: Basis): Float64Array {
  if (first.width !== second.width) {
    throw new RangeError(`internal: bases of width ${first.width} and ${second.width} have no similarity`);
  }
  const { width } = first;
  const [rows, columns] = [first.k, second.k];
  const phi = new Float64Array(rows * columns);
  // Sums of squared products over the leading block: each from the blocks above and to the left.
  for (let i = 0; i < rows; i++) {
    let row = 0;
    for (let j = 0; j < columns; j++) {
      let product = 0;
      for (let x = 0; x < width; x++) product += first.vectors[i * width + x]! * second.vectors[j * width + x]!;
      row += product * product;
      phi[i * columns + j] = row + (i > 0 ? phi[(i - 1) * columns + j]! : 0);
    }
  }
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) phi[i * columns + j]! /= Math.min(i, j) + 1;
  return phi;
}

/** A basis of a random space: orthonormalised Gaussians, the control of the paper's figure 4. */
export function randomBasis(k: number, width: number, seed: number): Basis {
  const random = randomStream(seed, k, width);
  const { q } = qr(
    Float64Array.from({ length: width * k }, () => random.normal()),
    width,
    k,
  );
  const vectors = new Float64Array(k * width);
  for (let i = 0; i < k; i++) for (let x = 0; x < width; x++) vectors[i * width + x] = q[x * k + i]!;
  return { vectors, k, width };
}

/** E[φ(i, j)] between random spaces of dimension i and j of `width`: max(i, j) / width. */
export function expectedSimilarity(i: number, j: number, width: number): number {
  return Math.max(i, j) / width;
}
