/**
 * Whether an update strengthens directions that the weight already has.
 * Source: Hu et al. 2021 (arXiv:2106.09685), section 7.3 and table 7.
 */

import { multiply, randomisedSvd, type Svd, svd, transpose, truncate } from "../tensor/linear-algebra.ts";
import { randomStream } from "../tensor/random.ts";
import { randomBasis } from "./subspace.ts";

export interface Amplification {
  /** Directions of each space. */
  readonly r: number;
  /** ‖W‖_F and ‖ΔW‖_F */
  readonly weightNorm: number;
  readonly updateNorm: number;
  /** ‖UᵀWV‖_F for U, V the top r singular directions of ΔW, of W itself, and of random spaces. */
  readonly inUpdate: number;
  readonly inWeight: number;
  readonly inRandom: number;
  /** ‖ΔW‖_F / ‖UᵀWV‖_F: how much the directions of ΔW are strengthened. */
  readonly factor: number;
}

type Shape = readonly [out: number, width: number];

/** Extent up to which a weight is decomposed exactly; beyond, its largest singular values are sought by projections. */
const EXACT = 128;
const ITERATIONS = 12;

/** The r largest singular directions of W [out, in]. */
export function largestDirections(weight: Float32Array, [out, width]: Shape, r: number): Svd {
  return Math.min(out, width) <= EXACT
    ? truncate(svd(weight, out, width), out, width, r)
    : randomisedSvd(weight, out, width, r, ITERATIONS, randomStream(1, out, width), r + 16);
}

/** W [out, in] with its own largest directions, r of them or more, and the decomposition of ΔW [out, in]. */
export function amplification(
  weight: Float32Array,
  largest: Svd,
  [out, width]: Shape,
  update: Svd,
  r: number,
): Amplification {
  const own = truncate(largest, out, width, r);
  const directions = truncate(update, out, width, r);
  const k = directions.s.length;
  const left = randomBasis(k, out, 2).vectors; // [k, out]
  const right = randomBasis(k, width, 3).vectors;
  const updateNorm = norm(update.s);
  const inUpdate = within(weight, out, width, transpose(directions.u, out, k), directions.vt, k);
  return {
    r: k,
    weightNorm: norm(weight),
    updateNorm,
    inUpdate,
    inWeight: within(weight, out, width, transpose(own.u, out, own.s.length), own.vt, own.s.length),
    inRandom: within(weight, out, width, left, right, k),
    factor: updateNorm / inUpdate,
  };
}

/** ‖UᵀWV‖_F for directions as rows: left [k, out], right [k, in]. */
function within(
  weight: ArrayLike<number>,
  out: number,
  width: number,
  left: Float64Array,
  right: Float64Array,
  k: number,
): number {
  const projected = multiply(left, weight, k, out, width);
  return norm(multiply(projected, transpose(right, k, width), k, width, k));
}

function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}
