/** Every op on WebGPU, forward and backward, against the float64 oracle; nothing may fall back to the CPU. */

import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { topological, type Value } from "../../src/graph/graph.ts";
import { runtimeOn } from "../../src/runtime/devices.ts";
import type { DType, TypedArray } from "../../src/tensor/dtype.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { build, type Case, cases, weightedLoss } from "../graph/cases.ts";
import { expectClose } from "../graph/close.ts";
import { evaluate, numbersOf } from "../graph/evaluate.ts";
import { noDriver } from "./driver.ts";

const TOLERANCE = 1e-5;
const CANCELLATION = 1e-6;
const runtime = runtimeOn("webgpu");

const ARRAYS: Partial<Record<DType, (data: Float64Array) => TypedArray>> = {
  f32: (data) => Float32Array.from(data),
  i32: (data) => Int32Array.from(data),
  bool: (data) => Uint8Array.from(data),
};
const tensorOf = ({ dtype, shape }: Value, data: Float64Array): Tensor => ({
  dtype,
  shape,
  data: ARRAYS[dtype]!(data),
});

/** Types that WebGPU does not compute with; programs use none of them there. */
const FOREIGN: readonly DType[] = ["f64", "bf16", "i64", "u8", "i8", "u4", "i4"];

/** Indices are int32 on WebGPU, as programs feed them. */
function narrowed(each: Case): Case {
  const inputs = Object.entries(each.inputs).map(([name, spec]) => [
    name,
    spec.dtype === "i64" ? { ...spec, dtype: "i32" as const } : spec,
  ]);
  return { ...each, inputs: Object.fromEntries(inputs) };
}

/** A type of the case's own that WebGPU does not have. */
function foreignType(each: Case): DType | undefined {
  const { inputs, outputs } = build(each);
  const used = topological([...outputs, ...inputs.values()]).flatMap((node) => node.outputs);
  return used.map(({ dtype }) => dtype).find((dtype) => FOREIGN.includes(dtype));
}

const known = cases.map(narrowed);

describe.each(known)("$name", (each) => {
  test("equals the oracle", async ({ skip }) => {
    skip(noDriver !== null, noDriver ?? "");
    const foreign = foreignType(each);
    skip(
      topological(build(each).outputs).some(({ op }) => op.type === "LookUpBlocks"),
      "--precision int4 is refused",
    );
    skip(
      topological(build(each).outputs).some(({ op }) => op.type === "Scan"),
      "programs for WebGPU have turns laid out instead of a loop",
    );
    skip(foreign !== undefined, `WebGPU has no ${foreign}`);
    const built = build(each);
    const outputs = new Map<string, Value>(built.outputs.map((value, i) => [`output ${i}`, value]));
    let { inputs, data } = built;
    if (each.wrt.length > 0) {
      const weighted = weightedLoss(built);
      ({ inputs, data } = weighted);
      const targets = each.wrt.map((name) => built.inputs.get(name)!);
      gradient(weighted.loss, targets).forEach((dx, i) => {
        outputs.set(`gradient of ${each.wrt[i]}`, dx!);
      });
    }
    const session = await runtime.open(outputs, { threads: 1 });
    const results = await session.run(new Map([...data].map(([name, x]) => [name, tensorOf(inputs.get(name)!, x)])));
    await session.close();
    const expected = evaluate([...outputs.values()], data);
    [...outputs].forEach(([name, value], i) => {
      const result = results.get(name)!;
      expect(result.shape, name).toEqual(value.shape);
      expect(result.dtype, name).toBe(value.dtype);
      expectClose(numbersOf(result), expected[i]!, TOLERANCE, name, CANCELLATION);
    });
  });
});
