/** What gradient() itself promises, whatever the ops: pruning, accumulation, depth and its errors. */

import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { GraphError } from "../../src/errors.ts";
import { apply, input, type Node, type Op, scalar, topological, type Value } from "../../src/graph/graph.ts";
import {
  add,
  detach,
  exp,
  greater,
  matMul,
  mul,
  neg,
  reduceMin,
  scale,
  split,
  sumAll,
} from "../../src/graph/ops/index.ts";
import { evaluate } from "./evaluate.ts";

const x = input("x", "f32", [2]);
const X = Float64Array.of(3, -0.5);

const values = (value: Value | null | undefined): number[] => [...evaluate([value!], new Map([["x", X]]))[0]!];

/** The identity, which tells when it is differentiated. */
function watched(y: Value, onGradient: () => void): Value {
  const Watched: Op = {
    type: "Neg",
    infer: ([type]) => [type!],
    gradient: ({ dy }) => {
      onGradient();
      return [dy];
    },
  };
  return apply(Watched, [y], {});
}

describe("pruning", () => {
  const LAYERS = 10;

  /** Ten frozen layers with one trainable tensor between each; `asked` collects the layers that are differentiated. */
  function stack(asked: number[]): { loss: Value; trainable: readonly Value[]; frozen: readonly Value[] } {
    const trainable: Value[] = [];
    const frozen: Value[] = [];
    let h = input("h", "f32", [3, 4]);
    for (let layer = 0; layer < LAYERS; layer++) {
      frozen.push(input(`frozen ${layer}`, "f32", [4, 4]));
      trainable.push(input(`trainable ${layer}`, "f32", [4]));
      h = mul(
        watched(matMul(h, frozen[layer]!), () => asked.push(layer)),
        trainable[layer]!,
      );
    }
    return { loss: sumAll(h), trainable, frozen };
  }

  const added = (gradients: readonly (Value | null)[], loss: Value): Node[] => {
    const forward = new Set(topological([loss]));
    return topological(gradients.map((value) => value!)).filter(
      (node) => !forward.has(node) && node.op.type !== "Constant",
    );
  };

  test("nothing is differentiated below the lowest target", () => {
    const asked: number[] = [];
    const { loss, trainable } = stack(asked);
    gradient(loss, [trainable[9]!, trainable[6]!]);
    expect(asked).toEqual([9, 8, 7]);
  });

  test("the gradient's nodes are those of the layers above the target, and no frozen weight has one", () => {
    const { loss, trainable, frozen } = stack([]);
    for (const layer of [9, 6, 0]) {
      const nodes = added(gradient(loss, [trainable[layer]!]), loss);
      const above = LAYERS - 1 - layer;
      expect(nodes.filter(({ op }) => op.type === "MatMul").length).toBe(above); // dh only: dW would be as many again
      expect(nodes.filter(({ op }) => op.type === "Mul").length).toBe(above + 1);
      const sums = nodes.filter(({ op }) => op.type === "ReduceSum");
      expect(sums.map(({ outputs }) => outputs[0]!.shape)).toEqual([[1, 4]]); // dh is [3, 4], the target [4]
    }
    const weights = added(gradient(loss, [frozen[0]!]), loss).filter(({ op }) => op.type === "MatMul");
    expect(weights.length).toBe(LAYERS);
  });

  test("the loss's own forward pass is used, not built again", () => {
    const y = exp(x);
    const [dx] = gradient(sumAll(y), [x]);
    const exps = topological([dx!]).filter(({ op }) => op.type === "Exp");
    expect(exps).toEqual([y.node]);
  });

  test("a target that the loss does not depend on gets null", () => {
    const other = input("other", "f32", [2]);
    const mask = greater(x, other);
    expect(gradient(sumAll(neg(x)), [other, x, mask]).map((dx) => dx !== null)).toEqual([false, true, false]);
    expect(gradient(sumAll(neg(x)), [])).toEqual([]);
  });

  test("an op without gradient that no target feeds is no error", () => {
    const [dx] = gradient(sumAll(mul(x, reduceMin(input("z", "f32", [2]), [0]))), [x]);
    expect(dx!.shape).toEqual([2]);
    const z = input("z", "f32", [2]);
    expect(gradient(reduceMin(z, [0]), [x], input("seed", "f32", [1]))).toEqual([null]);
  });
});

describe("accumulation", () => {
  test("a value used twice gets the sum", () => {
    const [dx] = gradient(sumAll(add(mul(x, x), scale(x, 3))), [x]);
    expect(values(dx)).toEqual([2 * X[0]! + 3, 2 * X[1]! + 3]);
  });

  test("a shared subexpression is differentiated once", () => {
    let calls = 0;
    const shared = watched(exp(x), () => calls++);
    const [dx] = gradient(sumAll(add(mul(shared, shared), shared)), [x]);
    expect(calls).toBe(1);
    expect(dx!.shape).toEqual([2]);
  });

  test("a product of 30 doublings is 30 levels, not 2³⁰ terms", () => {
    let y = x;
    for (let i = 0; i < 30; i++) y = add(y, y);
    const [dx] = gradient(sumAll(y), [x]);
    expect(values(dx)).toEqual([2 ** 30, 2 ** 30]);
    expect(topological([dx!]).length).toBeLessThan(40);
  });

  test("an inner value may be a target beside what it is made of", () => {
    const y = scale(x, 2);
    const [dy, dx, again] = gradient(sumAll(mul(y, y)), [y, x, y]);
    expect(values(dy)).toEqual([4 * X[0]!, 4 * X[1]!]);
    expect(values(dx)).toEqual([8 * X[0]!, 8 * X[1]!]);
    expect(again).toBe(dy);
  });

  test("an output of a node with several may be a target by itself", () => {
    const [a, b] = split(x, 2, 0);
    const [da, db] = gradient(sumAll(mul(a!, scale(b!, 5))), [a!, b!]);
    expect([values(da), values(db)]).toEqual([[5 * X[1]!], [5 * X[0]!]]);
  });

  test("a gradient of a gradient is one again", () => {
    const cube = mul(x, mul(x, x));
    const [first] = gradient(sumAll(cube), [x]);
    const [second] = gradient(sumAll(first!), [x]);
    expect(values(second)).toEqual([6 * X[0]!, 6 * X[1]!]);
  });

  test("the loss as its own target gets the seed", () => {
    const loss = sumAll(x);
    const seed = scalar(3);
    expect(gradient(loss, [loss], seed)).toEqual([seed]);
  });

  test("a seed scales what arrives", () => {
    const [dx] = gradient(mul(x, x), [x], x);
    expect(values(dx)).toEqual([2 * X[0]! ** 2, 2 * X[1]! ** 2]);
  });
});

test("a chain of 20 000 nodes overflows no stack", () => {
  let y = x;
  for (let i = 0; i < 10_000; i++) y = neg(add(y, x)); // x, -2x, x, -2x, …
  const [dx] = gradient(sumAll(y), [x]);
  expect(topological([y]).length).toBe(20_001);
  expect(values(y)).toEqual([...X]);
  expect(values(dx)).toEqual([1, 1]);
});

test("detach blocks what goes through it and nothing else", () => {
  const y = exp(x);
  expect(gradient(sumAll(detach(y)), [x])).toEqual([null]);
  const [dx] = gradient(sumAll(mul(detach(scale(x, 2)), x)), [x]);
  expect(values(dx)).toEqual([2 * X[0]!, 2 * X[1]!]);
});

describe("errors", () => {
  test("a loss that is no scalar needs a seed of its shape", () => {
    expect(() => gradient(x, [x])).toThrow(GraphError);
    expect(() => gradient(x, [x])).toThrow("value of shape [2] with a seed of shape []");
    expect(() => gradient(x, [x], input("seed", "f32", [2, 1]))).toThrow("seed of shape [2,1]");
  });

  test("an op without a gradient names itself and where to add one", () => {
    expect(() => gradient(sumAll(reduceMin(x, [0])), [x])).toThrow(GraphError);
    expect(() => gradient(sumAll(reduceMin(x, [0])), [x])).toThrow("ReduceMin has no gradient; add one");
    expect(() => gradient(sumAll(reduceMin(x, [0])), [x])).toThrow("graph/ops/");
  });
});
