/** The oracle and the gradients against PyTorch 2.15 in float64 (make_torch.py). */

import { expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { input, type Value } from "../../src/graph/graph.ts";
import * as ops from "../../src/graph/ops/index.ts";
import { expectClose } from "./close.ts";
import { evaluate } from "./evaluate.ts";
import fixture from "./torch.json" with { type: "json" };

interface Numbers {
  readonly shape: readonly number[];
  readonly integers: boolean;
  readonly data: readonly number[];
}

interface Recorded {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Numbers>>;
  readonly y: Numbers;
  readonly dy: Numbers;
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

const records = fixture as unknown as readonly Recorded[];

const { add, div, exp, log, matMul, reduceMax, reduceMean, reduceSum, sub } = ops;

function logSumExp(x: Value): Value {
  const top = ops.detach(reduceMax(x, [-1]));
  return add(log(reduceSum(exp(sub(x, top)), [-1])), top);
}

/** Lower triangle by cumulative positions, as the models' masks are made. */
function causal(scores: Value, size: number): Value {
  const positions = ops.zerosOf([size, 1]);
  const counted = ops.concat(
    Array.from({ length: size }, (_, i) => ops.shift(ops.slice(positions, 0, i, i + 1), i)),
    0,
  );
  const visible = ops.greaterOrEqual(counted, ops.transpose(counted, [1, 0]));
  return ops.where(visible, scores, ops.shift(ops.zerosOf([]), -1e9));
}

/** Each recorded function in our ops; `x` holds its inputs in their order. */
const FUNCTIONS: Readonly<Record<string, (...x: Value[]) => Value>> = {
  gelu: ops.gelu,
  geluTanh: ops.geluTanh,
  silu: ops.silu,
  quickGelu: ops.quickGelu,
  tanh: ops.tanh,
  sigmoid: ops.sigmoid,
  relu: ops.relu,
  erf: ops.erf,
  log,
  softmax: ops.softmax,
  layerNorm: (x, gain, bias) => ops.layerNorm(x!, gain!, bias!, 1e-5),
  rmsNorm: (x, gain) => ops.rmsNorm(x!, gain!, 1e-6),
  norm2: ops.norm2,
  crossEntropy: (x, labels) => ops.reshape(reduceMean(sub(logSumExp(x!), ops.gatherElements(x!, labels!)), [0, 1]), []),
  maskedAttention: (q, k, v) => {
    const scores = div(matMul(q!, k!, { transB: true }), ops.sqrt(ops.shift(ops.zerosOf([]), 5)));
    return matMul(ops.softmax(causal(scores, 4)), v!);
  },
  linear: (x, w, b) => ops.gemm(x!, w!, b!, { transB: true }),
  embedding: ops.gatherRows,
  indexAdd: ops.addRows,
  scatterAdd: ops.scatterElements,
  logSumExp,
};

test("the fixture holds every function of the table", () => {
  expect(new Set(records.map(({ name }) => name))).toEqual(new Set(Object.keys(FUNCTIONS)));
});

test.each(records)("$name", ({ name, inputs, y, dy, gradients }) => {
  const values = new Map<string, Value>();
  const data = new Map<string, Float64Array>();
  for (const [key, { shape, integers, data: numbers }] of Object.entries({ ...inputs, dy })) {
    values.set(key, input(key, integers ? "i64" : "f32", shape));
    data.set(key, Float64Array.from(numbers));
  }
  const output = FUNCTIONS[name]!(...Object.keys(inputs).map((key) => values.get(key)!));
  expect(output.shape).toEqual(y.shape);
  expectClose(evaluate([output], data)[0]!, y.data, 1e-13, "y");

  const targets = Object.keys(gradients);
  const found = gradient(
    output,
    targets.map((key) => values.get(key)!),
    values.get("dy")!,
  );
  const results = evaluate(
    found.map((dx) => dx!),
    data,
  );
  targets.forEach((key, i) => {
    expectClose(results[i]!, gradients[key]!, 1e-6, key); // rules hold their numbers in float32
  });
});
