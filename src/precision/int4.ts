/**
 * A frozen base in four bits: matrices are expanded to float32 where a product reads them, one at a time, and forgotten
 * (QLoRA, Dettmers et al. 2023). Forward and backward read the same codes, so gradients are those of the function that is
 * computed. Low-rank branches, norms, embeddings and the head stay in floating point.
 */

import { stored, type Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { blockMatMul, dequantizeBlocks, lookUpBlocks, normalFloatMatMul } from "../graph/ops/blocks.ts";
import { reduceSum, reshape } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { transpose } from "../graph/ops/movement.ts";

import { withGradient } from "../graph/ops/rule.ts";
import { matrixOf, type TensorSource, type Weights } from "../models/weights.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/tensor.ts";

/** A matrix in blocks, [out, in] however the checkpoint has it. */
export interface BlockMatrix {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly block: number;
  readonly layout: "out,in" | "in,out";
  /** Four or eight bits each. */
  readonly bits: 4 | 8;
  readonly codes: StoredTensor;
  readonly scales: StoredTensor;
  /** What the middle code stands for; null where it is zero. */
  readonly middles: StoredTensor | null;
  /** Bytes of middle codes, enough for one a block. */
  readonly zeros: StoredTensor;
  /** Codebook values of every four codes [65536, 4]; null for even steps. */
  readonly quads: StoredTensor | null;
}

export interface BlockBase {
  /** By the checkpoint's name of the matrix. */
  readonly matrices: ReadonlyMap<string, BlockMatrix>;
  /** The tensors that stay in floating point. */
  readonly source: TensorSource;
}

export interface Int4Options {
  /** Matrices that are whole tensors of an adapter. */
  readonly trained: ReadonlySet<string>;
  /** Products without gradients by the kernel that rounds activations to eight bits: for decoding, in sessions that prepack. */
  readonly rounded: boolean;
}

/** Weights whose linear layers read matrices in four bits. */
export function int4Weights(
  base: Weights,
  matrices: BlockBase["matrices"],
  { trained, rounded }: Int4Options,
): Weights {
  const sumsOf = blockSums();
  const find = (name: string): BlockMatrix | undefined => (trained.has(name) ? undefined : matrices.get(name));
  const get: Weights["get"] = (name, shape) => {
    const matrix = find(name);
    if (!matrix) return base.get(name, shape);
    const whole = expanded(matrix, middlesOf(matrix));
    return matrix.layout === "in,out" ? transpose(whole, [1, 0]) : whole;
  };
  return {
    ...base,
    get,
    linear: (module, x, spec) => {
      const matrix = find(matrixOf(module, spec).name);
      if (!matrix) return base.linear(module, x, spec);
      const steps = product(matrix, x, rounded);
      // The middles are a matrix of a column a block: cheaper to multiply than to add to the expanded one.
      const middles = middlesOf(matrix);
      const y = middles ? add(steps, matMul(sumsOf(x, matrix.block), middles, { transB: true })) : steps;
      return spec.bias ? add(y, base.get(`${module}.bias`, [spec.out])) : y;
    },
  };
}

/** x·Wᵀ [M, out] but for the middles. */
function product(matrix: BlockMatrix, x: Value, rounded: boolean): Value {
  const { name, out, in: width, block, bits, codes, scales, quads } = matrix;
  const byHand = (y: Value): Value => withGradient(y, [x], (dy) => [matMul(dy, expanded(matrix, null))]);
  if (quads) {
    const bytes = stored(`${name}.bytes`, { ...codes, shape: [(out * width) / 2] });
    return byHand(normalFloatMatMul(x, bytes, stored(`${name}.line`, { ...scales, shape: [(out * width) / block] })));
  }
  if (!rounded) return matMul(x, expanded(matrix, null), { transB: true });
  const blocks = stored(`${name}.blocks`, { ...codes, shape: [out, width / block, (block * bits) / 8] });
  return byHand(blockMatMul(x, blocks, scalesOf(matrix), null, { rounded: true }));
}

/** The matrix as float32 [out, in], with its middles or without. */
function expanded(matrix: BlockMatrix, middles: Value | null): Value {
  const { name, out, in: width, block, bits, codes, zeros, quads } = matrix;
  if (quads) {
    const fours = stored(`${name}.fours`, { ...codes, dtype: "u16", shape: [out, width / 4] });
    return lookUpBlocks(fours, scalesOf(matrix), stored("nf4.quads", quads));
  }
  const dtype = bits === 4 ? "u4" : "u8";
  const shape = [out, width / block];
  const held = stored(`${name}.steps`, { ...codes, dtype, shape: [out, width] });
  const byteLength = Math.ceil((sizeOf(shape) * bits) / 8);
  const middle = stored(`zeros.${dtype}.${shape}`, { ...zeros, dtype, shape, byteLength });
  return dequantizeBlocks(held, scalesOf(matrix), middle, middles);
}

function scalesOf({ name, out, in: width, block, scales }: BlockMatrix): Value {
  return stored(`${name}.scales`, { ...scales, shape: [out, width / block] });
}

function middlesOf({ name, out, in: width, block, middles }: BlockMatrix): Value | null {
  return middles && stored(`${name}.middles`, { ...middles, shape: [out, width / block] });
}

/** Sums of each block of a row [M, in / block], once for all the projections of one input. */
function blockSums(): (x: Value, block: number) => Value {
  const held = new Map<Value, Map<number, Value>>();
  return (x, block) => {
    const [M, K] = x.shape as [number, number];
    const known = held.get(x) ?? new Map<number, Value>();
    held.set(x, known);
    const blocks = K / block;
    const sums = known.get(block) ?? reshape(reduceSum(reshape(x, [M, blocks, block]), [2]), [M, blocks]);
    known.set(block, sums);
    return sums;
  };
}
