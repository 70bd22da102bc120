/**
 * How large the bytes of weights may be. CPUs that add pairs of 8-bit products in 16 bits (AVX2 without VNNI) saturate
 * at full range; seven bits are exact there. Found out by computing, not from lists of CPUs.
 */

import { input } from "../graph/graph.ts";
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
