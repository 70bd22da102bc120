import { expect, test } from "vitest";
import { constant, input } from "../../src/graph/graph.ts";
import { mul } from "../../src/graph/ops/arithmetic.ts";
import { gatherRows } from "../../src/graph/ops/gather.ts";
import { integerMatMul } from "../../src/graph/ops/quantise.ts";
import { headBackward } from "../../src/precision/head.ts";
import { columnScales, quantiseColumns } from "../../src/precision/quantise-matrix.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";

const n = 6;
const V = 4096;
const C = 32;

/** Softmax less a label: rows from one certain token to nearly uniform. */
function scoreGradients(): Float32Array {
  const random = randomStream(3);
  const dy = new Float32Array(n * V);
  for (let row = 0; row < n; row++) {
    const powers = Float64Array.from({ length: V }, () => Math.exp(random.normal() * (6 - row)));
    const sum = powers.reduce((a, b) => a + b, 0);
    powers.forEach((power, v) => {
      dy[row * V + v] = power / sum;
    });
    dy[row * V + random.integer(V)]! -= 1;
  }
  return dy;
}

test("the head's backward product in eight bits is within its bound of the true one", async () => {
  const random = randomStream(4);
  const W = Float32Array.from({ length: V * C }, () => random.normal());
  const shape = { K: V, M: C, transposed: false, levels: 127 };
  const dy = scoreGradients();
  const [dyIn, bytes, scales, table] = [
    input("dy", "f32", [n, V]),
    input("bytes", "i8", [V, C]),
    input("scales", "f32", [C]),
    input("table", "f32", [V, C]),
  ];
  const dx = headBackward(
    dyIn,
    (rows) => mul(integerMatMul(rows.bytes, bytes, scales), rows.scales),
    (numbers) => gatherRows(table, numbers),
  );
  const session = await nodeRuntime.open(new Map([["dx", dx]]), { threads: 1 });
  const columns = columnScales(W, shape);
  const inputs = new Map<string, Tensor>([
    ["dy", floatTensor([n, V], dy)],
    ["bytes", { dtype: "i8", shape: [V, C], data: quantiseColumns(W, shape) }],
    ["scales", floatTensor([C], columns)],
    ["table", floatTensor([V, C], W)],
  ]);
  const found = (await session.run(inputs)).get("dx")!.data;
  await session.close();
  for (let row = 0; row < n; row++) {
    const numbers = dy.subarray(row * V, (row + 1) * V);
    const smallestExact = numbers.map(Math.abs).toSorted((a, b) => b - a)[31]!;
    let [error, size] = [0, 0];
    for (let c = 0; c < C; c++) {
      let [sum, tail, weights] = [0, 0, 0];
      for (let v = 0; v < V; v++) {
        const [x, w] = [numbers[v]!, W[v * C + c]!];
        sum += x * w;
        weights += Math.abs(w);
        if (Math.abs(x) <= smallestExact) tail += Math.abs(x);
      }
      const off = Math.abs(Number(found[row * C + c]) - sum);
      expect(off).toBeLessThan((smallestExact / 254) * weights + (columns[c]! / 2) * tail + 1e-5);
      error += off ** 2;
      size += sum ** 2;
    }
    expect(Math.sqrt(error / size)).toBeLessThan(0.02);
  }
});

test("packed weights change no bit of a product of bytes", async () => {
  const random = randomStream(5);
  const [rows, K, M] = [33, 200, 70];
  const bytes = Uint8Array.from({ length: rows * K }, () => random.integer(256));
  const weights = Int8Array.from({ length: K * M }, () => random.integer(255) - 127);
  const scales = Float32Array.from({ length: M }, () => random.uniform());
  const product = integerMatMul(
    input("bytes", "u8", [rows, K]),
    constant({ dtype: "i8", shape: [K, M], data: weights }),
    constant(floatTensor([M], scales)),
  );
  const run = async (pack: boolean): Promise<Tensor> => {
    const session = await nodeRuntime.open(new Map([["y", product]]), { threads: 1, prepack: pack });
    const outputs = await session.run(new Map([["bytes", { dtype: "u8", shape: [rows, K], data: bytes }]]));
    await session.close();
    return outputs.get("y")!;
  };
  expect(await run(true)).toEqual(await run(false));
});
