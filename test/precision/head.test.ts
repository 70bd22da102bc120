import { expect, test } from "vitest";
import { constant, input, type Value } from "../../src/graph/graph.ts";
import { softmax } from "../../src/graph/ops/activation.ts";
import { mul } from "../../src/graph/ops/arithmetic.ts";
import { gatherRows, scatterElements } from "../../src/graph/ops/gather.ts";
import { integerMatMul } from "../../src/graph/ops/quantise.ts";
import { headBackward } from "../../src/precision/head.ts";
import { centreColumns, columnScales, quantiseColumns } from "../../src/precision/quantise-matrix.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";

const n = 6;
const V = 4096;
const C = 32;

/** Scores of rows from one certain token to nearly uniform, a label each, and the softmax less the label. */
function scored(): { scores: Float32Array; labels: Int32Array; dy: Float32Array } {
  const random = randomStream(3);
  const [scores, dy, labels] = [new Float32Array(n * V), new Float32Array(n * V), new Int32Array(n)];
  for (let row = 0; row < n; row++) {
    for (let v = 0; v < V; v++) scores[row * V + v] = random.normal() * (6 - row);
    const powers = Float64Array.from(scores.subarray(row * V, (row + 1) * V), Math.exp);
    const sum = powers.reduce((a, b) => a + b, 0);
    powers.forEach((power, v) => {
      dy[row * V + v] = power / sum;
    });
    labels[row] = random.integer(V);
    dy[row * V + labels[row]!]! -= 1;
  }
  return { scores, labels, dy };
}

const scoresIn = input("scores", "f32", [n, V]);
const labelsIn = input("labels", "i32", [n, 1]);
const less = constant(floatTensor([n, 1], new Float32Array(n).fill(-1)));

test.each<[string, Value]>([
  ["of any numbers", input("dy", "f32", [n, V])],
  ["of a softmax less its labels", scatterElements(softmax(scoresIn), labelsIn, less)],
])("the head's backward product in eight bits %s is within its bound of the true one", async (_name, dyIn) => {
  const random = randomStream(4);
  const W = Float32Array.from({ length: V * C }, () => random.normal() + 0.5);
  const shape = { K: V, M: C, transposed: false, levels: 127 };
  const { scores, labels, dy } = scored();
  const [bytes, scales, mean, table] = [
    input("bytes", "i8", [V, C]),
    input("scales", "f32", [C]),
    input("mean", "f32", [C]),
    input("table", "f32", [V, C]),
  ];
  const dx = headBackward(dyIn, {
    mean,
    product: (rows) => mul(integerMatMul(rows.bytes, bytes, scales), rows.scales),
    rows: (numbers) => gatherRows(table, numbers),
  });
  const session = await nodeRuntime.open(new Map([["dx", dx]]), { threads: 1 });
  const centred = W.slice();
  const means = centreColumns(centred, shape);
  const columns = columnScales(centred, shape);
  const inputs = new Map<string, Tensor>([
    ["dy", floatTensor([n, V], dy)],
    ["scores", floatTensor([n, V], scores)],
    ["labels", { dtype: "i32", shape: [n, 1], data: labels }],
    ["bytes", { dtype: "i8", shape: [V, C], data: quantiseColumns(centred, shape) }],
    ["scales", floatTensor([C], columns)],
    ["mean", floatTensor([C], means)],
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
        weights += Math.abs(w - means[c]!);
        if (Math.abs(x) <= smallestExact) tail += Math.abs(x);
      }
      const off = Math.abs(Number(found[row * C + c]) - sum);
      expect(off).toBeLessThan((smallestExact / 254) * weights + (columns[c]! / 2) * tail + 1e-5);
      error += off ** 2;
      size += sum ** 2;
    }
    expect(Math.sqrt(error / size)).toBeLessThan(0.01);
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
