/**
 * Inputs of which a few channels are far larger than the others, whatever the text: gains of norms and the products of
 * gated MLPs make such. One scale a row would round all the rest to nothing. So before a row becomes bytes, each channel
 * is divided by the root of its usual size (Xiao et al. 2022, "SmoothQuant", arXiv 2211.10438), and what is still large
 * is dealt out among neighbours by a Hadamard matrix H of ±1 (Ashkboos et al. 2024, "QuaRot", arXiv 2404.00456; there the
 * size of a layer's whole input, here in blocks of 32 channels, which cost less and come as near). The weights take the
 * inverse: x·W = (x·s·H)·(H·W/(b·s)), b channels a block.
 */

import type { Value } from "../graph/graph.ts";
import { constant } from "../graph/graph.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import type { QuantiseShape } from "./quantise-matrix.ts";

/** Most channels of a block. */
const BLOCK = 32;
/** A channel that calibration saw smaller than this share of the input's usual size counts as of that share. */
const SMALLEST = 0.1;

/** Channels of a block of an input of K: the largest power of two that divides it, up to BLOCK. */
function blockOf(K: number): number {
  let block = 1;
  while (block < BLOCK && K % (2 * block) === 0) block *= 2;
  return block;
}

/** What the channels of an input are multiplied by [K], given the root mean square of each. */
export function channelGains(sizes: Float32Array): Float32Array {
  const usual = Math.sqrt(sizes.reduce((sum, size) => sum + size * size, 0) / sizes.length);
  return sizes.map((size) => 1 / Math.sqrt(Math.max(size / usual, SMALLEST)));
}

/** The H [b, b] for inputs of K, of which a graph has one for each b. */
export function hadamards(): (K: number) => Value {
  const held = new Map<number, Value>();
  return (K) => {
    const block = blockOf(K);
    const H = held.get(block) ?? hadamard(block);
    held.set(block, H);
    return H;
  };
}

/** x·H, block by block, for x [N, K]. */
export function dealt(x: Value, H: Value): Value {
  const [N = 0, K = 0] = x.shape;
  const block = H.shape[0]!;
  return reshape(matMul(reshape(x, [(N * K) / block, block]), H), [N, K]);
}

/** H·W, block by block, for W [K, M]. */
export function dealtRows(W: Value, H: Value): Value {
  const [K = 0, M = 0] = W.shape;
  const block = H.shape[0]!;
  return reshape(matMul(H, reshape(W, [K / block, block, M])), [K, M]);
}

/** H/(b·s)·W in place, for the W [K, M] in `values` and gains s [K]. */
export function spreadRows(values: Float32Array, { K, M, transposed }: QuantiseShape, gains: Float32Array): void {
  const [rowStride, columnStride] = transposed ? [1, K] : [M, 1];
  const size = blockOf(K);
  const block = new Float64Array(size);
  for (let from = 0; from < K; from += size) {
    for (let m = 0; m < M; m++) {
      const at = from * rowStride + m * columnStride;
      for (let k = 0; k < size; k++) block[k] = values[at + k * rowStride]! / (size * gains[from + k]!);
      transform(block);
      for (let k = 0; k < size; k++) values[at + k * rowStride] = block[k]!;
    }
  }
}

/** Sylvester's matrix of ±1 [b, b], symmetric: H·H = b. */
function hadamard(block: number): Value {
  const data = new Float32Array(block * block);
  for (let row = 0; row < block; row++) {
    const line = new Float64Array(block);
    line[row] = 1;
    transform(line);
    data.set(line, row * block);
  }
  return constant({ dtype: "f32", shape: [block, block], data });
}

/** H·values in place, by halves. */
function transform(values: Float64Array): void {
  for (let half = 1; half < values.length; half *= 2) {
    for (let i = 0; i < values.length; i++) {
      if (i & half) continue;
      const [a, b] = [values[i]!, values[i + half]!];
      values[i] = a + b;
      values[i + half] = a - b;
    }
  }
}
