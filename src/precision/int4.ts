/**
 * A frozen base in four bits: matrices are expanded to float32 where a product reads them, one at a time, and forgotten
 * (QLoRA, Dettmers et al. 2023). Forward and backward read the same codes, so gradients are those of the function that is
 * computed. Low-rank branches, norms, embeddings and the head stay in floating point.
 */

import { stored, type Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { blockMatMul, blockSums, dequantizeBlocks, lookUpBlocks, normalFloatMatMul } from "../graph/ops/blocks.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import { split, transpose } from "../graph/ops/movement.ts";
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

/** Matrices of layers that read one value, one under the other. */
export interface BlockGroup {
  readonly members: readonly BlockMatrix[];
  readonly joined: BlockMatrix;
}

export interface BlockBase {
  /** By the checkpoint's name of the matrix. */
  readonly matrices: ReadonlyMap<string, BlockMatrix>;
  readonly groups: readonly BlockGroup[];
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
  { matrices, groups }: Pick<BlockBase, "matrices" | "groups">,
  { trained, rounded }: Int4Options,
): Weights {
  const sumsOf = memo(blockSums);
  const find = (name: string): BlockMatrix | undefined => (trained.has(name) ? undefined : matrices.get(name));
  const get: Weights["get"] = (name, shape) => {
    const matrix = find(name);
    if (!matrix) return base.get(name, shape);
    const whole = expanded(matrix, middlesOf(matrix));
    return matrix.layout === "in,out" ? transpose(whole, [1, 0]) : whole;
  };
  const whole = (matrix: BlockMatrix, x: Value): Value => {
    const steps = product(matrix, x, rounded);
    // The middles are a matrix of a column a block: cheaper to multiply than to add to the expanded one.
    const middles = middlesOf(matrix);
    return middles ? gemm(sumsOf(x, matrix.block), middles, steps, { transB: true }) : steps;
  };
  // One product costs less than several, where nothing is to be differentiated and none is trained.
  const joined = new Map(
    rounded
      ? groups.flatMap((group) =>
          group.members.some(({ name }) => trained.has(name)) ? [] : group.members.map(({ name }) => [name, group]),
        )
      : [],
  );
  const shares = memo((x: Value, group: BlockGroup) =>
    split(
      whole(group.joined, x),
      group.members.map(({ out }) => out),
      1,
    ),
  );
  return {
    ...base,
    get,
    linear: (module, x, spec) => {
      const matrix = find(matrixOf(module, spec).name);
      if (!matrix) return base.linear(module, x, spec);
      const group = joined.get(matrix.name);
      const y = group ? shares(x, group)[group.members.indexOf(matrix)]! : whole(matrix, x);
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

/** Computes of a value once for each `key`, however many layers ask. */
function memo<Key, Result>(of: (x: Value, key: Key) => Result): (x: Value, key: Key) => Result {
  const held = new Map<Value, Map<Key, Result>>();
  return (x, key) => {
    const known = held.get(x) ?? new Map<Key, Result>();
    held.set(x, known);
    const result = known.get(key) ?? of(x, key);
    known.set(key, result);
    return result;
  };
}
