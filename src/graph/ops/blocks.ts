/**
 * Matrices in blocks of a row's weights, each block with a scale: four or eight bits a weight. Letters: N rows (outputs),
 * K columns (inputs), b weights a block. Products are not differentiable in their codes; the input's gradient is a
 * rule of whoever builds the product.
 */

import { apply, demand, type Op, type Value } from "../graph.ts";
import { expand, reshape } from "./broadcast.ts";

interface BlockAttributes {
  /** Weights a block. */
  readonly block: number;
}

const DequantizeLinear: Op<BlockAttributes> = {
  type: "DequantizeLinear",
  infer: ([codes, scales, zeros, middles], { block }) => {
    const [N, K] = codes!.shape;
    const fits =
      codes!.shape.length === 2 &&
      codes!.dtype === zeros!.dtype &&
      [scales!, zeros!, ...(middles ? [middles] : [])].every(
        ({ shape }) => shape.length === 2 && shape[0] === N && shape[1]! * block === K,
      );
    demand(fits, "DequantizeLinear", `[${codes!.shape}] in blocks of ${block}, scales [${scales!.shape}]`);
    return [{ dtype: "f32", shape: codes!.shape }];
  },
};

const LookUpBlocks: Op<BlockAttributes> = {
  type: "LookUpBlocks",
  infer: ([codes, scales, quads], { block }) => {
    const [N, quarter] = codes!.shape;
    const K = 4 * quarter!;
    const fits =
      codes!.dtype === "u16" &&
      quads!.shape.join() === "65536,4" &&
      scales!.shape[0] === N &&
      scales!.shape[1]! * block === K;
    demand(fits, "LookUpBlocks", `[${codes!.shape}] in blocks of ${block}, scales [${scales!.shape}]`);
    return [{ dtype: "f32", shape: [N!, K] }];
  },
};

const NormalFloatMatMul: Op<BlockAttributes> = {
  type: "NormalFloatMatMul",
  infer: ([x, codes, scales], { block }) => {
    const [M, K] = x!.shape;
    const N = (2 * codes!.shape[0]!) / K!;
    const fits = codes!.dtype === "u8" && Number.isInteger(N) && scales!.shape[0]! * block === N * K!;
    demand(fits, "NormalFloatMatMul", `[${x!.shape}] by ${codes!.shape} bytes, ${scales!.shape} scales`);
    return [{ dtype: "f32", shape: [M!, N] }];
  },
};

interface BlockMatMulAttributes extends BlockAttributes {
  /** Whether the kernel may round rows of x to eight bits, as it computes fastest. */
  readonly rounded: boolean;
}

const BlockMatMul: Op<BlockMatMulAttributes> = {
  type: "BlockMatMul",
  infer: ([x, codes, scales], { block }) => {
    const [M, K] = x!.shape;
    const [N, blocks, bytes] = codes!.shape;
    const fits = codes!.dtype === "u8" && blocks! * block === K && (bytes === block || 2 * bytes! === block);
    demand(fits && scales!.shape.join() === `${N},${blocks}`, "BlockMatMul", `[${x!.shape}] by [${codes!.shape}]`);
    return [{ dtype: "f32", shape: [M!, N!] }];
  },
};

const BlockSums: Op<BlockAttributes> = {
  type: "BlockSums",
  infer: ([x], { block }) => {
    const [M, K] = x!.shape;
    demand(x!.shape.length === 2 && K! % block === 0, "BlockSums", `[${x!.shape}] in blocks of ${block}`);
    return [{ dtype: x!.dtype, shape: [M!, K! / block] }];
  },
  gradient: ({ dy, x: [x], attributes: { block } }) => {
    const [M, K] = x!.shape as [number, number];
    return [reshape(expand(reshape(dy, [M, K / block, 1]), [M, K / block, block]), [M, K])];
  },
};

/** Sums of x [M, K] over every `block` elements of a row: [M, K / block]. */
export function blockSums(x: Value, block: number): Value {
  return apply(BlockSums, [x], { block });
}

/** (codes − zeros) · scales + middles as float32 [N, K]: codes u4 or u8 [N, K], the others one a block [N, K / b]. */
export function dequantizeBlocks(codes: Value, scales: Value, zeros: Value, middles: Value | null = null): Value {
  const inputs = middles ? [codes, scales, zeros, middles] : [codes, scales, zeros];
  return apply(DequantizeLinear, inputs, { block: codes.shape[1]! / scales.shape[1]! });
}

/**
 * Codebook values times scales as float32 [N, K]: four codes of four bits in each u16 [N, K / 4], scales [N, K / b], and
 * `quads` [65536, 4], the four values of every u16.
 */
export function lookUpBlocks(codes: Value, scales: Value, quads: Value): Value {
  return apply(LookUpBlocks, [codes, scales, quads], { block: (4 * codes.shape[1]!) / scales.shape[1]! });
}

/**
 * x·Wᵀ [M, N] for x [M, K] and W in NF4 as bitsandbytes packs it: codes u8 [N·K / 2], the earlier one of two in the high
 * half, and scales [N·K / b]. The weights are expanded inside the kernel and forgotten.
 */
export function normalFloatMatMul(x: Value, codes: Value, scales: Value): Value {
  return apply(NormalFloatMatMul, [x, codes, scales], { block: (2 * codes.shape[0]!) / scales.shape[0]! });
}

/**
 * x·Wᵀ [M, N] for x [M, K] and W = (codes − zeros) · scales: codes u8 [N, K / b, b / 2] (the earlier one of two in the
 * low half) or [N, K / b, b], scales [N, K / b]. Zeros: u8 [N, K / b], or two a byte, each row begun anew; null stands for
 * 8 or 128. Fast only in sessions that prepack.
 */
export function blockMatMul(
  x: Value,
  codes: Value,
  scales: Value,
  zeros: Value | null,
  { rounded }: { readonly rounded: boolean },
): Value {
  const block = x.shape[1]! / codes.shape[1]!;
  return apply(BlockMatMul, zeros ? [x, codes, scales, zeros] : [x, codes, scales], { block, rounded });
}
