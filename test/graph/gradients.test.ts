/** Every op's gradient against central finite differences, both in float64 by the oracle; and that every op has a case. */

import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { topological } from "../../src/graph/graph.ts";
import * as ops from "../../src/graph/ops/index.ts";
import { build, cases, type Ops, weightedLoss } from "./cases.ts";
import { expectClose } from "./close.ts";
import { evaluate } from "./evaluate.ts";

const STEP = 1e-5;
const TOLERANCE = 1e-6; // gradient rules hold their numbers, such as 1 / √(2π), in float32
const NOISE = 1e-9; // of the differences

/** What the index exports for defining ops, not for building graphs. */
const NOT_BUILDERS = new Set(["keptAxes", "reduction"]);

const differentiable = cases.filter(({ wrt }) => wrt.length > 0);

describe("finite differences", () => {
  test.each(differentiable)("$name", (each) => {
    const built = build(each);
    const { loss, data } = weightedLoss(built);
    const names = [...built.inputs.keys()];
    const gradients = gradient(loss, [...built.inputs.values()]);
    expect(names.filter((_, i) => gradients[i] !== null)).toEqual(each.wrt);

    for (const name of each.wrt) {
      const dx = gradients[names.indexOf(name)]!;
      expect(dx.shape).toEqual(built.inputs.get(name)!.shape);
      expect(dx.dtype).toBe(built.inputs.get(name)!.dtype);
      const x = data.get(name)!;
      const at = (i: number, value: number): number =>
        evaluate([loss], new Map(data).set(name, x.with(i, value)))[0]![0]!;
      const differences = x.map((value, i) => (at(i, value + STEP) - at(i, value - STEP)) / (2 * STEP));
      expectClose(evaluate([dx], data)[0]!, differences, TOLERANCE, name, NOISE);
    }
  });
});

describe("completeness", () => {
  test("names are unique", () => {
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  test("every exported builder is used by a case", () => {
    const used = new Set<PropertyKey>();
    const recorder = new Proxy<Ops>(ops, {
      get(target, key) {
        used.add(key);
        return Reflect.get(target, key);
      },
    });
    for (const each of cases) build(each, recorder);
    const builders = Object.keys(ops).filter((name) => !NOT_BUILDERS.has(name));
    expect(builders.filter((name) => !used.has(name))).toEqual([]);
  });

  test("every op with a gradient is differentiated by a case", () => {
    const all = new Set<string>();
    const walked = new Set<string>();
    for (const each of cases) {
      for (const { op } of topological(build(each).outputs)) if (op.gradient) all.add(op.type);
    }
    for (const each of differentiable) {
      const { inputs, outputs } = build(each);
      const fed = new Set(each.wrt.map((name) => inputs.get(name)!.node));
      for (const node of topological(outputs)) {
        if (!node.inputs.some(({ node: source }) => fed.has(source))) continue;
        fed.add(node);
        walked.add(node.op.type);
      }
    }
    expect([...all].filter((type) => !walked.has(type))).toEqual([]);
  });
});
