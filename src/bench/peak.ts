/** What this machine can do: the speed of one large matrix product, in float32 and in bytes. */

import { input, type Value } from "../graph/graph.ts";
import { sumAll } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { integerMatMul } from "../graph/ops/quantise.ts";
import type { Runtime } from "../runtime/session.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface Peak {
  /** 10⁹ multiplications and additions a second. */
  readonly fp32: number;
  readonly int8: number;
}

const [M, K, N] = [512, 1024, 2048];
const REPEATS = 12;

/** The best of some products of [512, 1024] and [1024, 2048]. */
export async function measurePeak(runtime: Runtime, threads: number): Promise<Peak> {
  const fp32 = matMul(input("a", "f32", [M, K]), input("b", "f32", [K, N]));
  const int8 = integerMatMul(input("a", "u8", [M, K]), input("b", "i8", [K, N]), input("scales", "f32", [N]));
  const scales: Tensor = { dtype: "f32", shape: [N], data: new Float32Array(N).fill(1) };
  return {
    fp32: await speedOf(fp32, [
      ["a", { dtype: "f32", shape: [M, K], data: new Float32Array(M * K).fill(0.5) }],
      ["b", { dtype: "f32", shape: [K, N], data: new Float32Array(K * N).fill(0.5) }],
    ]),
    int8: await speedOf(int8, [
      ["a", { dtype: "u8", shape: [M, K], data: new Uint8Array(M * K).fill(3) }],
      ["b", { dtype: "i8", shape: [K, N], data: new Int8Array(K * N).fill(3) }],
      ["scales", scales],
    ]),
  };

  async function speedOf(product: Value, inputs: readonly (readonly [string, Tensor])[]): Promise<number> {
    // A sum alone comes back: copying the product would be timed too.
    const session = await runtime.open(new Map([["sum", sumAll(product)]]), { threads });
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < REPEATS; i++) {
      const begun = performance.now();
      await session.run(new Map(inputs));
      best = Math.min(best, performance.now() - begun);
    }
    await session.close();
    return (2 * M * K * N) / best / 1e6;
  }
}
