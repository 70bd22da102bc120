/**
 * How large the bytes of weights may be. CPUs that add pairs of 8-bit products in 16 bits (AVX2 without VNNI) saturate
 * at full range; seven bits are exact there. Found out by computing, not from lists of CPUs.
 */

import { constant, input } from "../graph/graph.ts";
import { blockMatMul } from "../graph/ops/blocks.ts";
import { integerMatMul } from "../graph/ops/quantise.ts";
import type { Runtime } from "../runtime/session.ts";
import type { DType, TypedArray } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Largest magnitude of a weight byte that this machine multiplies exactly. */
export type Levels = 127 | 63;

const K = 64;
const M = 16;

/** Multiplies extremes and compares with the true sum. */
export async function byteLevels(runtime: Runtime): Promise<Levels> {
  const product = integerMatMul(
    input("bytes", "u8", [M, K]),
    input("weights", "i8", [K, M]),
    input("scales", "f32", [M]),
  );
  const session = await runtime.open(new Map([["product", product]]), { threads: 1 });
  try {
    const filled = (dtype: DType, shape: readonly number[], data: TypedArray): Tensor => ({ dtype, shape, data });
    const outputs = await session.run(
      new Map([
        ["bytes", filled("u8", [M, K], new Uint8Array(M * K).fill(255))],
        ["weights", filled("i8", [K, M], new Int8Array(K * M).fill(127))],
        ["scales", filled("f32", [M], new Float32Array(M).fill(1))],
      ]),
    );
    const exact = (255 - 128) * 127 * K;
    return outputs.get("product")!.data.every((value) => Number(value) === exact) ? 127 : 63;
  } finally {
    await session.close();
  }
}

/** Whether the kernel that decodes four-bit weights computes here: a product of ones, which no rounding changes. */
export async function fourBitKernel(runtime: Runtime): Promise<boolean> {
  const [N, blocks, block] = [16, 2, 32];
  const product = blockMatMul(
    input("x", "f32", [1, blocks * block]),
    constant({ dtype: "u8", shape: [N, blocks, block / 2], data: new Uint8Array((N * blocks * block) / 2).fill(0x99) }),
    constant({ dtype: "f32", shape: [N, blocks], data: new Float32Array(N * blocks).fill(1) }),
    null,
    { rounded: true },
  );
  const session = await runtime.open(new Map([["product", product]]), { threads: 1, prepack: true });
  try {
    const x: Tensor = { dtype: "f32", shape: [1, blocks * block], data: new Float32Array(blocks * block).fill(1) };
    const outputs = await session.run(new Map([["x", x]]));
    return outputs.get("product")!.data.every((value) => Math.abs(Number(value) - blocks * block) < 0.01);
  } finally {
    await session.close();
  }
}
